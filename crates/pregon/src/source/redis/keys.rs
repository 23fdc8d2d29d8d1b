//! Commands on keys of the `[redis]`, on a connection that is made when it is needed and anew after a failure.

use std::time::Duration;

use ::redis::{ErrorKind, FromRedisValue, Pipeline};

use super::connect::{Connector, Keyed, SetupError};
use crate::config;

/// How long commands may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection for commands on keys.
pub(crate) struct Keys {
    connector: Connector,
    connection: Option<Keyed>,
}

impl Keys {
    pub(crate) fn new(redis: &config::Redis) -> Result<Self, SetupError> {
        Ok(Self {
            connector: Connector::build(redis)?,
            connection: None,
        })
    }

    /// Runs a script whose answer does not matter.
    pub(crate) async fn eval(
        &mut self,
        script: &str,
        keys: &[String],
        arguments: &[&str],
    ) -> anyhow::Result<()> {
        let mut pipe = ::redis::pipe();
        pipe.cmd("EVAL")
            .arg(script)
            .arg(keys.len())
            .arg(keys)
            .arg(arguments);
        self.run::<::redis::Value>(&pipe).await.map(drop)
    }

    /// Runs commands; their keys must be of one slot where there is a cluster.
    pub(crate) async fn run<T: FromRedisValue>(&mut self, pipe: &Pipeline) -> anyhow::Result<T> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connector.keyed(PATIENCE).await?,
        };
        let answer = pipe.query_async(&mut connection).await;
        // After a refusal the connection is as good as before; after anything else nobody knows.
        if answer
            .as_ref()
            .err()
            .is_none_or(|error| matches!(error.kind(), ErrorKind::Server(_)))
        {
            self.connection = Some(connection);
        }
        Ok(answer?)
    }
}
