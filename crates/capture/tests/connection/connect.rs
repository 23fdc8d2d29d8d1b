//! TLS, passwords, unix sockets, and errors that say what to do.

use std::sync::{Arc, Mutex};

use pregon_capture::connect::{ConnectErrorKind, Settings};
use pregon_testkit::postgres::{Auth, Options, Tls, shared};
use pregon_testkit::{Database, Server};

use crate::support::{PATIENCE, Running, listen_to};

async fn is_encrypted(settings: &Settings) -> anyhow::Result<bool> {
    let session = settings.open().await?;
    let row = session
        .query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[])
        .await?;
    Ok(row.get(0))
}

async fn failure(url: &str) -> (ConnectErrorKind, String) {
    match Settings::parse(url).unwrap().connect().await {
        Ok(_) => panic!("connected to {url}"),
        Err(error) => (error.kind(), error.to_string()),
    }
}

#[tokio::test]
async fn verify_full_takes_the_right_host_and_refuses_another() -> anyhow::Result<()> {
    let server = Server::start(Options {
        auth: Auth::Scram,
        tls: Tls::Required,
        ..Options::default()
    })
    .await?;
    let ca = server.ca_file().unwrap();
    let url = |host: &str, mode: &str| {
        format!(
            "postgres://postgres:postgres@{host}:{}/postgres?hostaddr=127.0.0.1&sslmode={mode}&sslrootcert={}",
            server.port(),
            ca.display()
        )
    };
    assert!(is_encrypted(&Settings::parse(&url("localhost", "verify-full"))?).await?);
    assert!(is_encrypted(&Settings::parse(&url("other.example", "verify-ca"))?).await?);

    let (kind, message) = failure(&url("other.example", "verify-full")).await;
    assert_eq!(kind, ConnectErrorKind::Tls, "{message}");
    assert!(message.contains("sslrootcert"), "{message}");

    // Without our authority the system's roots do not know the server.
    let plain = format!(
        "postgres://postgres:postgres@localhost:{}/postgres",
        server.port()
    );
    assert_eq!(
        failure(&format!("{plain}?sslmode=verify-full")).await.0,
        ConnectErrorKind::Tls
    );
    assert!(is_encrypted(&Settings::parse(&format!("{plain}?sslmode=require"))?).await?);
    assert!(is_encrypted(&Settings::parse(&format!("{plain}?sslmode=prefer"))?).await?);
    Ok(())
}

#[tokio::test]
async fn a_listener_works_over_tls_with_scram() -> anyhow::Result<()> {
    let server = Server::start(Options {
        auth: Auth::Scram,
        tls: Tls::Required,
        ..Options::default()
    })
    .await?;
    let url = format!(
        "host=localhost port={} user=postgres password=postgres dbname=postgres sslmode=verify-full sslrootcert={}",
        server.port(),
        server.ca_file().unwrap().display()
    );
    let mut running = Running::attached(listen_to(&url, &["c"])?, 16).await?;
    server
        .admin("postgres")
        .await?
        .batch_execute("NOTIFY c, 'ñ'")
        .await?;
    assert_eq!(running.notification().await?, ("c".into(), "ñ".into()));
    running.stop().await
}

#[tokio::test]
async fn passwords_are_checked() -> anyhow::Result<()> {
    for auth in [Auth::Scram, Auth::Md5] {
        let server = Server::start(Options {
            auth,
            ..Options::default()
        })
        .await?;
        assert!(
            Settings::parse(&server.superuser_url())?.open().await.is_ok(),
            "{auth:?}"
        );
        let wrong = format!("postgres://postgres:secret@{}/postgres", server.address());
        let (kind, message) = failure(&wrong).await;
        assert_eq!(kind, ConnectErrorKind::Auth);
        assert!(
            !message.contains("secret") && message.contains("28P01"),
            "{message}"
        );
        let none = format!("postgres://postgres@{}/postgres", server.address());
        assert_eq!(failure(&none).await.0, ConnectErrorKind::Auth);
    }
    Ok(())
}

#[tokio::test]
async fn a_unix_socket_works_in_both_forms() -> anyhow::Result<()> {
    let server = shared().await;
    let database = Database::create(server).await?;
    let pairs = format!(
        "host={} port={} user=postgres dbname={}",
        server.socket_dir().display(),
        server.port(),
        database.name()
    );
    for url in [server.socket_url("postgres", database.name()), pairs] {
        let mut running = Running::attached(listen_to(&url, &["c"])?, 16).await?;
        database.execute("NOTIFY c, 'x'").await?;
        assert_eq!(running.notification().await?.1, "x");
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn errors_name_their_kind() -> anyhow::Result<()> {
    let server = shared().await;
    let (kind, message) = failure(&server.url_for("postgres", "nowhere")).await;
    assert_eq!(kind, ConnectErrorKind::NoDatabase, "{message}");
    assert_eq!(
        failure("postgres://postgres@127.0.0.1:1/x").await.0,
        ConnectErrorKind::Refused
    );
    assert_eq!(
        failure("host=/does/not/exist user=x").await.0,
        ConnectErrorKind::Refused
    );
    assert_eq!(
        failure(&format!("{}?sslmode=require", server.superuser_url()))
            .await
            .0,
        ConnectErrorKind::Tls
    );
    Ok(())
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() -> anyhow::Result<()> {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("postgres://u@{}/x?connect_timeout=1", silent.local_addr()?);
    let (kind, _) = tokio::time::timeout(PATIENCE, failure(&url)).await?;
    assert_eq!(kind, ConnectErrorKind::Timeout);
    Ok(())
}

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn md5_works_with_one_warning_and_scram_with_none() -> anyhow::Result<()> {
    for (auth, tls, warnings) in [
        (Auth::Md5, Tls::Off, 1),
        (Auth::Md5, Tls::Offered, 1),
        (Auth::Scram, Tls::Off, 0),
    ] {
        let server = Server::start(Options {
            auth,
            tls,
            ..Options::default()
        })
        .await?;
        let mode = if tls == Tls::Off { "disable" } else { "require" };
        let settings = Settings::parse(&format!("{}?sslmode={mode}", server.superuser_url()))?;
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        settings.open().await?;
        settings.with_name("again").open().await?;
        let text = String::from_utf8(log.0.lock().unwrap().clone())?;
        assert_eq!(text.matches("md5").count(), warnings, "{auth:?} {tls:?}: {text}");
    }
    Ok(())
}
