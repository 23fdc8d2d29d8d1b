//! `pregon listen --desktop` on a private D-Bus with a notification service of our own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use pregon_testkit::{Database, eventually, postgres, process};

use crate::support::SOON;

/// A bus of its own, ended with the value.
struct Bus {
    daemon: Child,
    address: String,
}

impl Bus {
    /// `None` where there is no D-Bus.
    fn start() -> Option<Self> {
        let mut command = Command::new("dbus-daemon");
        command
            .args(["--session", "--nofork", "--nopidfile", "--print-address=1"])
            .stdout(Stdio::piped());
        let socket = process::scratch("bus", None).unwrap().join("s");
        command.arg(format!("--address=unix:path={}", socket.display()));
        let mut daemon = process::spawn(command, process::SIGKILL).ok()?;
        let mut address = String::new();
        BufReader::new(daemon.stdout.take()?)
            .read_line(&mut address)
            .ok()?;
        Some(Self {
            daemon,
            address: address.trim().to_owned(),
        })
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        process::end(&mut self.daemon, process::SIGTERM, SOON);
    }
}

/// Keeps what it is asked to show.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Vec<(String, String)>>>);

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Service {
    #[allow(clippy::too_many_arguments, reason = "the specification's")]
    fn notify(
        &self,
        _app: &str,
        _replaces: u32,
        _icon: &str,
        summary: &str,
        body: &str,
        _actions: Vec<String>,
        _hints: std::collections::HashMap<String, zbus::OwnedVariant>,
        _timeout: i32,
    ) -> u32 {
        self.0.lock().unwrap().push((summary.into(), body.into()));
        1
    }

    fn get_capabilities(&self) -> Vec<String> {
        vec!["body".into(), "body-markup".into()]
    }
}

#[tokio::test]
async fn shows_a_notification_with_title_and_text() {
    let Some(bus) = Bus::start() else {
        eprintln!("skipped: there is no dbus-daemon here");
        return;
    };
    let (service, database) = (
        Service::default(),
        Database::create(postgres::shared().await).await.unwrap(),
    );
    let builder = zbus::connection::Builder::address(bus.address.as_str());
    let builder = builder.serve_at("/org/freedesktop/Notifications", service.clone());
    let _serving = builder
        .name("org.freedesktop.Notifications")
        .build()
        .await
        .unwrap();
    let (url, text) = (database.url(), "Bienvenida {nombre}");
    let mut till = super::command(&[
        "listen",
        "--dsn",
        &url,
        "canal",
        "--desktop",
        "--title",
        "Sala {sala}",
        "--template",
        text,
    ]);
    till.env("DBUS_SESSION_BUS_ADDRESS", &bus.address)
        .stdout(Stdio::null());
    let mut till = process::spawn(till, process::SIGKILL).unwrap();
    let seen = eventually(SOON, || async {
        let notify = r#"SELECT pg_notify('canal', '{"nombre":"Ana <&> Eva","sala":3}')"#;
        database.execute(notify).await.unwrap(); // until it listens
        service.0.lock().unwrap().first().cloned()
    });
    assert_eq!(
        seen.await.unwrap(),
        ("Sala 3".to_owned(), "Bienvenida Ana &lt;&amp;&gt; Eva".to_owned())
    );
    process::end(&mut till, process::SIGTERM, SOON);
}

#[tokio::test]
async fn without_a_desktop_it_prints_and_warns() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let url = database.url();
    let mut till = super::command(&["listen", "--dsn", &url, "canal", "--desktop", "--json"]);
    till.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut till = process::spawn(till, process::SIGKILL).unwrap();
    let (out, err) = (till.stdout.take().unwrap(), till.stderr.take().unwrap());
    let line = tokio::task::spawn_blocking(move || BufReader::new(out).lines().next().unwrap().unwrap());
    let warned = tokio::task::spawn_blocking(move || {
        BufReader::new(err)
            .lines()
            .map_while(Result::ok)
            .any(|line| line.contains("no desktop notification"))
    });
    eventually(SOON, || async {
        database
            .execute(r#"SELECT pg_notify('canal', '{"n":1}')"#)
            .await
            .unwrap(); // until it listens
        line.is_finished() && warned.is_finished()
    })
    .await
    .unwrap();
    assert_eq!(
        (line.await.unwrap().as_str(), warned.await.unwrap()),
        (r#"{"n":1}"#, true)
    );
    process::end(&mut till, process::SIGTERM, SOON);
}
