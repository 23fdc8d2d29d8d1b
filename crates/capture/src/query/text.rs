//! Statements whose parameters and columns are all text, for callers whose SQL says the types itself.

use tokio_postgres::types::{ToSql, Type};

use super::{Lease, Pool, QueryError, TextParam, column_text};

impl Pool {
    /// Runs one statement and gives its rows. Parameters are cast in the SQL (`$1::jsonb`); every column must be text.
    pub async fn query_texts(
        &self,
        sql: &str,
        params: &[Option<&str>],
    ) -> Result<Vec<Vec<Option<String>>>, QueryError> {
        let work = async {
            let mut lease = self.get().await?;
            run(&mut lease, sql, params).await
        };
        tokio::time::timeout(self.patience(), work)
            .await
            .map_err(|_| QueryError::Timeout)?
    }

    /// The same where one row with one column is the answer.
    pub async fn query_text_value(&self, sql: &str, params: &[Option<&str>]) -> Result<String, QueryError> {
        let rows = self.query_texts(sql, params).await?;
        let value = rows.into_iter().next().and_then(|row| row.into_iter().next());
        value
            .flatten()
            .ok_or_else(|| QueryError::Value("the statement gave nothing".into()))
    }
}

async fn run(
    lease: &mut Lease,
    sql: &str,
    params: &[Option<&str>],
) -> Result<Vec<Vec<Option<String>>>, QueryError> {
    let params: Vec<TextParam<'_>> = params.iter().map(|param| TextParam(*param)).collect();
    let rows = if lease.prepares() {
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param as _).collect();
        lease.query(sql, &params).await?
    } else {
        let params: Vec<(&(dyn ToSql + Sync), Type)> =
            params.iter().map(|param| (param as _, Type::TEXT)).collect();
        lease.query_unprepared(sql, &params).await?
    };
    rows.iter()
        .map(|row| (0..row.len()).map(|index| column_text(row, index)).collect())
        .collect()
}
