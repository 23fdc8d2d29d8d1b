//! One PostgreSQL server: start, stop, kill, freeze, restart on the same port and data.
//!
//! The server is a child of this process and dies with it; dropping a [`Server`] stops it and removes its folder.
//! The kit itself connects through the unix socket as `postgres`, which is trusted whatever the options say.

use std::{
    fmt::Write as _,
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{
    binaries::Binaries,
    database, template,
    tls::{Authority, Certificate},
};
use crate::process::{self, Account};

/// A loaded two-core machine needs seconds for crash recovery.
const PATIENCE: Duration = Duration::from_secs(30);

/// How clients that come by TCP prove who they are. Passwords equal the role's name, `postgres` included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// No password is asked.
    #[default]
    Trust,
    /// SCRAM-SHA-256.
    Scram,
    /// md5, as in old installations.
    Md5,
}

/// Whether the server speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// It does not.
    #[default]
    Off,
    /// Clients may use it.
    Offered,
    /// Connections by TCP without it are refused.
    Required,
}

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The installation; found by [`Binaries::find`] when absent.
    pub binaries: Option<Binaries>,
    /// How TCP clients authenticate.
    pub auth: Auth,
    /// TLS with a certificate for `localhost` and 127.0.0.1 from an authority of our own.
    pub tls: Tls,
    /// Real fsync, for measurements; off by default because tests throw the data away.
    pub fsync: bool,
    /// More than 0 allows `PREPARE TRANSACTION`.
    pub max_prepared_transactions: u32,
    /// Further lines for `postgresql.conf`, which win over ours.
    pub settings: Vec<(String, String)>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    port: u16,
    binaries: Binaries,
    account: Option<Account>,
    auth: Auth,
    authority: Option<Authority>,
    child: Option<Child>,
}

impl Server {
    /// Starts a new, empty server and waits until it answers.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let mut server = tokio::task::spawn_blocking(move || Self::prepare(&options)).await??;
        server.launch_somewhere().await?;
        if server.auth == Auth::Md5 {
            let admin = server.admin("postgres").await?;
            admin
                .batch_execute("ALTER ROLE postgres PASSWORD 'postgres'")
                .await?;
        }
        Ok(server)
    }

    fn prepare(options: &Options) -> anyhow::Result<Self> {
        let binaries = match &options.binaries {
            Some(binaries) => binaries.clone(),
            None => Binaries::find()?,
        };
        let account = process::unprivileged()?;
        let folder = process::scratch("pg", account)?;
        template::copy_to(&folder.join("data"), &binaries, account)?;
        let auth = options.auth;
        let mut server = Self {
            folder,
            port: 0,
            binaries,
            account,
            auth,
            authority: None,
            child: None,
        };
        let certificate = match options.tls {
            Tls::Off => None,
            Tls::Offered | Tls::Required => Some(server.certify()?),
        };
        server.configure(options, certificate.as_ref())?;
        Ok(server)
    }

    fn certify(&mut self) -> anyhow::Result<Certificate> {
        let authority = Authority::create(&self.folder)?;
        let certificate = authority.issue("server", "DNS:localhost,IP:127.0.0.1")?;
        fs::set_permissions(&certificate.key, fs::Permissions::from_mode(0o600))?;
        process::hand_over(&certificate.key, self.account)?;
        self.authority = Some(authority);
        Ok(certificate)
    }

    fn configure(&self, options: &Options, certificate: Option<&Certificate>) -> anyhow::Result<()> {
        let data = self.folder.join("data");
        let mut settings = fs::read_to_string(data.join("postgresql.conf"))?;
        let mut set = |key: &str, value: &str| writeln!(settings, "{key} = '{}'", value.replace('\'', "''"));
        set("listen_addresses", "127.0.0.1")?;
        set("unix_socket_directories", &self.folder.to_string_lossy())?;
        set("wal_level", "logical")?;
        set("max_connections", "200")?;
        set("max_replication_slots", "20")?;
        set("max_wal_senders", "20")?;
        set(
            "max_prepared_transactions",
            &options.max_prepared_transactions.to_string(),
        )?;
        set("log_line_prefix", "%m [%p] %a %d ")?;
        set("fsync", if options.fsync { "on" } else { "off" })?;
        set("full_page_writes", if options.fsync { "on" } else { "off" })?;
        set(
            "password_encryption",
            if options.auth == Auth::Md5 {
                "md5"
            } else {
                "scram-sha-256"
            },
        )?;
        if let Some(certificate) = certificate {
            set("ssl", "on")?;
            set("ssl_cert_file", &certificate.cert.to_string_lossy())?;
            set("ssl_key_file", &certificate.key.to_string_lossy())?;
        }
        for (key, value) in &options.settings {
            set(key, value)?;
        }
        fs::write(data.join("postgresql.conf"), settings)?;
        fs::write(data.join("pg_hba.conf"), access_rules(options.auth, options.tls))?;
        Ok(())
    }

    async fn launch_somewhere(&mut self) -> anyhow::Result<()> {
        for attempt in 0.. {
            self.port = process::free_port()?;
            match self.launch().await {
                // Another process may have taken the port between the look and the start.
                Err(error) if attempt < 3 && format!("{error:#}").contains("could not bind") => {}
                other => return other,
            }
        }
        Ok(())
    }

    async fn launch(&mut self) -> anyhow::Result<()> {
        let data = self.folder.join("data");
        let pid_file = data.join("postmaster.pid");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let log_start = log.metadata()?.len();
        let mut command = Command::new(self.binaries.program("postgres"));
        command.arg("-D").arg(&data).args(["-p", &self.port.to_string()]);
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid);
        }
        // SIGQUIT is PostgreSQL's immediate shutdown: its children end too and the shared memory is given back.
        let mut child = process::spawn(command, process::SIGQUIT).context("starting postgres")?;
        let deadline = Instant::now() + PATIENCE;
        while !says_ready(&pid_file, child.id()) {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!(
                    "postgres ended at start ({status}): {}",
                    self.log_since(log_start)
                );
            }
            if Instant::now() > deadline {
                process::end(&mut child, process::SIGQUIT, Duration::from_secs(2));
                anyhow::bail!(
                    "postgres was not ready within {PATIENCE:?}: {}",
                    self.log_since(log_start)
                );
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.child = Some(child);
        Ok(())
    }

    /// The TCP port on 127.0.0.1; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the unix socket.
    pub fn socket_dir(&self) -> &Path {
        &self.folder
    }

    /// The installation in use, for example for `psql`.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The certificate authority to trust, when TLS is on.
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.authority.as_ref().map(Authority::ca_file)
    }

    /// The authority, to issue client or wrong certificates from.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// `postgres` on database `postgres`, by TCP.
    pub fn superuser_url(&self) -> String {
        self.url_for("postgres", "postgres")
    }

    /// A URL by TCP; carries the password (the role's name) when one is asked for.
    pub fn url_for(&self, user: &str, database: &str) -> String {
        self.url_at(self.port, user, database)
    }

    /// The same through another port of 127.0.0.1: a [`crate::Proxy`].
    pub fn url_at(&self, port: u16, user: &str, database: &str) -> String {
        match self.auth {
            Auth::Trust => format!("postgres://{user}@127.0.0.1:{port}/{database}"),
            Auth::Scram | Auth::Md5 => format!("postgres://{user}:{user}@127.0.0.1:{port}/{database}"),
        }
    }

    /// A URL through the unix socket.
    pub fn socket_url(&self, user: &str, database: &str) -> String {
        let host = self.folder.to_string_lossy().replace('/', "%2F");
        format!("postgres://{user}@{host}:{}/{database}", self.port)
    }

    /// The address for a proxy's upstream.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A superuser's connection through the unix socket; its task belongs to the caller's runtime.
    pub async fn admin(&self, database: &str) -> anyhow::Result<tokio_postgres::Client> {
        database::connect(&self.socket_url("postgres", database)).await
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        self.log_since(0)
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    fn log_since(&self, start: u64) -> String {
        let bytes = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(
            bytes
                .get(usize::try_from(start).unwrap_or(0)..)
                .unwrap_or_default(),
        )
        .into_owned()
    }

    /// Fast shutdown: connections are cut in an orderly way, data is flushed.
    pub async fn stop_fast(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            process::signal_if_running(&mut child, process::SIGINT);
            process::wait_exit(&mut child, PATIENCE).await?;
        }
        Ok(())
    }

    /// Kills every process of the server at once, as a power cut would; returns when all are gone.
    pub async fn kill9(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let children = process::children_of(child.id());
        process::signal_if_running(&mut child, process::SIGKILL);
        children
            .iter()
            .for_each(|pid| process::signal(*pid, process::SIGKILL));
        process::wait_exit(&mut child, PATIENCE).await?;
        crate::eventually(PATIENCE, || async {
            !children.iter().any(|pid| process::is_running(*pid))
        })
        .await
    }

    /// Stops every process of the server in its tracks: connections stay open and nothing answers.
    pub fn freeze(&mut self) {
        self.signal_all(process::SIGSTOP);
    }

    /// Lets a frozen server go on.
    pub fn thaw(&mut self) {
        self.signal_all(process::SIGCONT);
    }

    fn signal_all(&mut self, signal: i32) {
        if let Some(child) = &mut self.child {
            process::signal_if_running(child, signal);
            process::children_of(child.id())
                .iter()
                .for_each(|pid| process::signal(*pid, signal));
        }
    }

    /// Starts again on the same port and data, after a stop or kill or (by a fast stop) from running.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop_fast().await?;
        self.launch().await
    }

    /// Whether a server process is there.
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            process::signal_if_running(child, process::SIGCONT);
            process::end(child, process::SIGQUIT, Duration::from_secs(5));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The status line of `postmaster.pid`, as `pg_ctl` reads it; a left-over file names another process.
fn says_ready(pid_file: &Path, pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(pid_file) else {
        return false;
    };
    let mut lines = text.lines();
    lines.next() == Some(&pid.to_string()) && lines.nth(6).is_some_and(|status| status.trim() == "ready")
}

fn access_rules(auth: Auth, tls: Tls) -> String {
    let method = match auth {
        Auth::Trust => "trust",
        Auth::Scram => "scram-sha-256",
        Auth::Md5 => "md5",
    };
    let host = if tls == Tls::Required { "hostssl" } else { "host" };
    format!(
        "local all postgres trust\nlocal replication postgres trust\nlocal all all {method}\n\
         {host} all all 127.0.0.1/32 {method}\n{host} replication all 127.0.0.1/32 {method}\n"
    )
}
