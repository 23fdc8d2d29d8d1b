//! Scripts on keys of the `[redis]`, on a connection that is made when it is needed and anew after a failure.

use std::time::Duration;

use super::connect::{Connector, Keyed, SetupError};
use crate::config;

/// How long a script may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection for commands on keys.
pub struct Keys {
    connector: Connector,
    connection: Option<Keyed>,
}

impl Keys {
    pub fn new(redis: &config::Redis) -> Result<Self, SetupError> {
        Ok(Self {
            connector: Connector::build(redis)?,
            connection: None,
        })
    }

    /// Runs a script whose answer does not matter.
    pub async fn eval(&mut self, script: &str, keys: &[String], arguments: &[&str]) -> anyhow::Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connector.keyed(PATIENCE).await?,
        };
        let mut command = ::redis::cmd("EVAL");
        command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
        command.exec_async(&mut connection).await?;
        self.connection = Some(connection);
        Ok(())
    }
}
