//! A real PgBouncer before one database of the tests' server.

use std::process::{Child, Command, Stdio};

use pregon_testkit::{Database, Server, eventually, postgres, process};

use super::SOON;

/// A program of Debian that may stand outside of the path of users.
pub(crate) fn program(name: &str) -> Command {
    let own = format!("/usr/sbin/{name}");
    Command::new(if std::path::Path::new(&own).exists() {
        &own
    } else {
        name
    })
}

pub(crate) struct PgBouncer {
    child: Child,
    url: String,
}

impl PgBouncer {
    /// Starts one with so many server connections, in the mode `transaction` or `session`, and waits until it answers.
    pub(crate) async fn start(server: &Server, database: &Database<'_>, mode: &str, servers: usize) -> Self {
        let account = process::unprivileged().unwrap();
        let folder = process::scratch("pgbouncer", account).unwrap();
        let port = process::free_port().unwrap();
        let url = reqwest::Url::parse(&database.url()).unwrap();
        let (host, to) = (url.host_str().unwrap(), server.port());
        let user = url.username();
        let password = url
            .password()
            .map(|password| format!(" password={password}"))
            .unwrap_or_default();
        let ini = format!(
            "[databases]\n{} = host={host} port={to} user={user}{password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = {servers}\nmax_client_conn = 100\n",
            database.name()
        );
        let file = folder.join("pgbouncer.ini");
        std::fs::write(&file, ini).unwrap();
        let mut command = program("pgbouncer");
        if account.is_some() {
            command.args(["-u", "postgres"]);
        }
        command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let child = process::spawn(command, process::SIGKILL).unwrap();
        let url = server.url_at(port, "postgres", database.name());
        eventually(SOON, || postgres::connect(&url)).await.unwrap();
        Self { child, url }
    }

    /// How the database is reached through it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        process::end(&mut self.child, process::SIGKILL, SOON);
    }
}
