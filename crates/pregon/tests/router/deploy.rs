//! What `deploy/` says is true: nginx takes its site and passes deliveries on, systemd takes its units, PgBouncer may stand in between.

use std::process::{Command, Stdio};

use pregon_testkit::postgres::tls::Authority;
use pregon_testkit::{Database, Node, NodeOptions, eventually, postgres, process};

use super::{APP_SECRET, VERIFY, becomes, deliver, finished, sign, start, text, with_secrets};
use crate::support::SOON;
use crate::support::pgbouncer::{PgBouncer, program};

fn deploy(file: &str) -> String {
    let path = format!("{}/../../deploy/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// The site with another port, certificate and upstream, and a server around it.
fn site(folder: &std::path::Path, port: u16, router: &str) -> String {
    let certificate = Authority::create(folder).unwrap();
    let certificate = certificate.issue("router", "DNS:router.example.com").unwrap();
    let given = "/etc/letsencrypt/live/router.example.com/";
    let site = deploy("nginx/router.conf")
        .replace("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl"))
        .replace("    listen [::]:443 ssl;\n", "")
        .replace("127.0.0.1:3002", router)
        .replace(
            &format!("{given}fullchain.pem"),
            &certificate.cert.display().to_string(),
        )
        .replace(
            &format!("{given}privkey.pem"),
            &certificate.key.display().to_string(),
        );
    assert!(
        !site.contains("letsencrypt/live") && !site.contains(":443"),
        "{site}"
    );
    let at = folder.display();
    // The worker of a root would be somebody who may not read our folder.
    let user = if process::unprivileged().unwrap().is_some() {
        "user root;\n"
    } else {
        ""
    };
    format!(
        "{user}daemon off;\nworker_processes 1;\npid {at}/pid;\nerror_log {at}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n\
         client_body_temp_path {at}/body;\nproxy_temp_path {at}/proxy;\nfastcgi_temp_path {at}/f;\nuwsgi_temp_path {at}/u;\n\
         scgi_temp_path {at}/s;\n{site}\n}}\n"
    )
}

#[tokio::test]
async fn the_site_for_nginx_passes_deliveries_on_and_nothing_else() {
    let (database, router) = start(postgres::shared().await).await;
    let folder = process::scratch("nginx", None).unwrap();
    let port = process::free_port().unwrap();
    let file = folder.join("nginx.conf");
    std::fs::write(&file, site(&folder, port, &router.address())).unwrap();
    let mut test = program("nginx");
    let tested = test.arg("-t").arg("-c").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&tested.stderr).into_owned();
    assert!(
        tested.status.success() && said.contains("test is successful"),
        "{said}"
    );
    let mut command = program("nginx");
    command
        .arg("-c")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut nginx = process::spawn(command, process::SIGTERM).unwrap();

    let authority = std::fs::read(folder.join("ca.crt")).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&authority).unwrap()])
        .resolve("router.example.com", ([127, 0, 0, 1], port).into())
        .build()
        .unwrap();
    let url = |path: &str| format!("https://router.example.com:{port}{path}");
    let challenge = url(&format!(
        "/webhook?hub.mode=subscribe&hub.verify_token={VERIFY}&hub.challenge=123"
    ));
    let answer = eventually(SOON, || client.get(&challenge).send()).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "123");
    let post = |body: Vec<u8>| {
        let signature = sign(APP_SECRET, &body);
        client
            .post(url("/webhook"))
            .header("x-hub-signature-256", signature)
            .body(body)
            .send()
    };
    let taken = post(text("1", "wamid.1", "por nginx").to_string().into())
        .await
        .unwrap();
    assert_eq!(taken.status(), 200);
    becomes(&database, "SELECT mensaje FROM mensajes", "por nginx").await;
    // It is the router who says that a body is too large, and it counts it.
    let large = post(vec![b'x'; (4 << 20) + 1]).await.unwrap();
    assert_eq!(large.status(), 413);
    assert!(large.text().await.unwrap().contains("[router] body"));
    for path in ["/metrics", "/readyz", "/"] {
        assert_eq!(
            client.get(url(path)).send().await.unwrap().status(),
            404,
            "{path}"
        );
    }
    process::end(&mut nginx, process::SIGTERM, SOON);
}

#[test]
fn systemd_takes_the_units() {
    let folder = tempfile::tempdir().unwrap();
    for unit in ["pregon.service", "pregon-router.service"] {
        let text = deploy(&format!("systemd/{unit}"));
        let here = text.replace(
            "/usr/local/bin/pregon",
            &crate::support::binary().display().to_string(),
        );
        assert_ne!(here, text);
        std::fs::write(folder.path().join(unit), here).unwrap();
    }
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "pregon.service", "pregon-router.service"]);
    let verified = verify.current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    // Units of the machine itself may be odd.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("pregon")).collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
}

#[tokio::test]
async fn a_transaction_pooler_may_stand_before_the_database() {
    let server = postgres::shared().await;
    let database = Database::create(server).await.unwrap();
    let bouncer = PgBouncer::start(server, &database, "transaction", 2).await;
    let pooled = bouncer.url();
    let config = "[postgres]\napply = \"auto\"\n[router]\npooler = true\nworkers = 6";
    let options = with_secrets(NodeOptions::text(config), pooled).env("PREGON_ADMIN_URL", database.url());
    let router = Node::spawn(options).await.unwrap();
    let contact = |contact: u32| {
        let router = &router;
        async move {
            for number in 0..20 {
                let wamid = format!("wamid.{contact}.{number:02}");
                deliver(router, &text(&format!("54{contact}"), &wamid, &wamid)).await;
            }
        }
    };
    futures_util::future::join_all((0..8).map(contact)).await;
    finished(&database).await;
    super::faults::each_once_and_in_order(&database, 8, 20).await;
}
