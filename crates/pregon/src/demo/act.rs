//! Does what a deed says, in the real database, Redis or webhook, and tells the statement.
//!
//! A connection for each act: the servers may be killed and come back at any moment.

use std::time::Duration;

use anyhow::Context;
use pregon_capture::query::TextParam;
use tokio_postgres::types::ToSql;

use super::deeds::{APP_SECRET, Act, Delivery, Message, Sql};
use super::example::Example;
use super::statements::{Statement, Statements, now};
use crate::source::webhook::signature::sign;

/// How often a service tries to publish, and its pause between: longer than a kill takes.
const PUBLISHES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(250);

/// Where the acts of an example go.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) example: &'static Example,
    /// Its database.
    pub(super) url: String,
    pub(super) redis: Option<String>,
    /// Where deliveries are posted.
    pub(super) webhook: Option<String>,
}

impl Target {
    pub(super) async fn perform(&self, act: &Act, statements: &Statements) -> anyhow::Result<()> {
        let said = match act {
            Act::Sql(sql) => self.query(sql).await?,
            Act::Announce(sql) => return self.announce(sql, statements).await,
            Act::Deliver(delivery) => Some(self.deliver(delivery).await?),
        };
        said.into_iter().for_each(|statement| statements.tell(statement));
        Ok(())
    }

    /// Nothing is said where no row was concerned.
    async fn query(&self, sql: &Sql) -> anyhow::Result<Option<Statement>> {
        let client = pregon_testkit::postgres::connect(&self.url).await?;
        let prepared = client.prepare(sql.text).await?;
        let values: Vec<TextParam<'_>> = sql
            .values
            .iter()
            .map(|value| TextParam(value.as_deref()))
            .collect();
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        let sent = now();
        let Some(row) = client.query_opt(&prepared, &values).await? else {
            return Ok(None);
        };
        let key: String = row.try_get(0)?;
        let mut said = self.said(written_out(sql), key, sent);
        said.quiet = sql.quiet;
        Ok(Some(said))
    }

    /// What was committed is told in any case: a Redis that is killed comes back.
    async fn announce(&self, sql: &Sql, statements: &Statements) -> anyhow::Result<()> {
        let client = pregon_testkit::postgres::connect(&self.url).await?;
        let prepared = client.prepare(sql.text).await?;
        let values: Vec<TextParam<'_>> = sql
            .values
            .iter()
            .map(|value| TextParam(value.as_deref()))
            .collect();
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        for row in client.query(&prepared, &values).await? {
            let message = Message {
                channel: row.try_get(0)?,
                json: row.try_get(1)?,
                key: row.try_get(2)?,
            };
            statements.tell(self.publish(&message).await?);
        }
        Ok(())
    }

    async fn publish(&self, message: &Message) -> anyhow::Result<Statement> {
        for _ in 0..PUBLISHES {
            if let Ok(said) = self.redis(message).await {
                return Ok(said);
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.redis(message).await
    }

    async fn redis(&self, message: &Message) -> anyhow::Result<Statement> {
        let url = self.redis.as_deref().context("this example has no Redis")?;
        let client = redis::Client::open(url)?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut words = redis::cmd("PUBLISH");
        words.arg(&message.channel).arg(&message.json);
        let sent = now();
        words.query_async::<redis::Value>(&mut connection).await?;
        let what = format!("PUBLISH {} '{}'", message.channel, message.json);
        Ok(self.said(what, message.key.clone(), sent))
    }

    async fn deliver(&self, delivery: &Delivery) -> anyhow::Result<Statement> {
        let url = self.webhook.as_ref().context("this example has no router")?;
        let signature = sign(APP_SECRET, delivery.json.as_bytes());
        let headers = [("x-hub-signature-256", signature.as_str())];
        let sent = now();
        let answer = pregon_testkit::http::request("POST", url, &headers, delivery.json.as_bytes()).await?;
        anyhow::ensure!(answer.status() == 200, "the router says {}", answer.status());
        let what = format!("POST /webhook {}", delivery.json);
        let mut said = self.said(what, delivery.key.clone(), sent);
        said.quiet = delivery.quiet;
        Ok(said)
    }

    fn said(&self, what: String, key: String, at: f64) -> Statement {
        Statement {
            n: 0,
            example: self.example.name,
            at,
            what,
            key,
            quiet: false,
        }
    }
}

/// The statement as a person would write it: values in their places, without what only we ask for.
fn written_out(sql: &Sql) -> String {
    let text = sql.text.split(" RETURNING").next().unwrap_or_default();
    let mut parts = text.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let (number, rest) = part.split_at(end);
        let place = number.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
        let value = place.and_then(|place| sql.values.get(place));
        out.push_str(&value.map_or_else(|| format!("${number}"), |value| quoted(value.as_deref())));
        out.push_str(rest);
    }
    out
}

fn quoted(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(number) if number.parse::<f64>().is_ok_and(f64::is_finite) => number.to_owned(),
        Some(text) => format!("'{}'", text.replace('\'', "''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_written_out_with_its_values() {
        let values = [Some("D'Artagnan $2"), Some("12.50"), None].map(|value| value.map(str::to_owned));
        let sql = Sql {
            text: "INSERT INTO t (a, b, c) VALUES ($1, $2, $3) RETURNING id::text",
            values: values.to_vec(),
            quiet: false,
        };
        assert_eq!(
            written_out(&sql),
            "INSERT INTO t (a, b, c) VALUES ('D''Artagnan $2', 12.50, NULL)"
        );
    }
}
