//! Rules: areas, agents, labels, replies, webhooks, channels.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use parking_lot::Mutex;
use pregon_testkit::{Database, Node, NodeOptions, PLANTED, eventually, postgres};
use serde_json::{Value, json};

use super::{ask, becomes, deliver, finished, sign, text, with_secrets};

const RULES: &str = r#"
[postgres]
apply = "auto"
[router]
agents = "agentes"
webhook_secret = "firma"
[[router.rule]]
when = "'precio' in message.palabras"
area = "ventas"
assign = "round_robin"
labels = ["precio"]
[[router.rule]]
has = ["precio"]
labels = ["volvió"]
[[router.rule]]
when = "message.texto.contains('ayuda')"
area = "soporte"
assign = "least_loaded"
otherwise = "general"
"#;

/// Answers as told and keeps what it was asked: a stand-in for the Graph API, which no test may call.
#[derive(Clone, Default)]
struct Graph {
    asked: Arc<Mutex<Vec<Value>>>,
    /// Answers to come; afterwards it accepts.
    answers: Arc<Mutex<Vec<(u16, Value)>>>,
}

impl Graph {
    async fn start() -> (Self, String) {
        let graph = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = axum::Router::new()
            .fallback(Self::answer)
            .with_state(graph.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        (graph, url)
    }

    async fn answer(State(graph): State<Self>, request: Request) -> (http::StatusCode, axum::Json<Value>) {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let header = |name: &str| {
            head.headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let number = graph.asked.lock().len();
        graph.asked.lock().push(json!({"path": head.uri.path(), "token": header("authorization"), "key": header("idempotency-key"),
            "signature": header("x-pregon-signature-256"), "text": String::from_utf8_lossy(&body),
            "body": serde_json::from_slice::<Value>(&body).unwrap()}));
        let mut answers = graph.answers.lock();
        let (status, answer) = if answers.is_empty() {
            (200, json!({"messages": [{"id": format!("wamid.bot.{number}")}]}))
        } else {
            answers.remove(0)
        };
        (http::StatusCode::from_u16(status).unwrap(), axum::Json(answer))
    }

    async fn wait(&self, count: usize) -> Vec<Value> {
        let enough = eventually(Duration::from_secs(30), || async {
            let asked = self.asked.lock().clone();
            if asked.len() >= count {
                Ok(asked)
            } else {
                Err(format!("{asked:?}"))
            }
        });
        enough.await.unwrap()
    }
}

async fn with_rules<'a>(database: &Database<'a>, rules: &str, graph: &str) -> Node {
    database
        .execute(
            "CREATE TABLE agentes (id int PRIMARY KEY, area text, en_linea boolean);
             INSERT INTO agentes VALUES (1, 'ventas', true), (2, 'ventas', true), (3, 'ventas', false), (4, 'soporte', false)",
        )
        .await
        .unwrap();
    let options = with_secrets(NodeOptions::text(rules), &database.url())
        .env("WHATSAPP_TOKEN", "token-graph")
        .env("WHATSAPP_GRAPH_URL", graph);
    Node::spawn(options).await.unwrap()
}

#[tokio::test]
async fn a_time_zone_that_the_server_does_not_know_ends_the_start() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let tables = "CREATE TABLE agentes (id int PRIMARY KEY, area text, en_linea boolean)";
    database.execute(tables).await.unwrap();
    let rules = RULES.replace("[router]\n", "[router]\ntimezone = \"America/Buenos_Airs\"\n");
    let options = with_secrets(NodeOptions::text(rules), &database.url());
    let Err(error) = Node::spawn(options).await else {
        panic!("it started")
    };
    let said = format!("{error:#}");
    assert!(
        said.contains("the server knows no time zone `America/Buenos_Airs`"),
        "{said}"
    );
    assert!(said.contains("pg_timezone_names"), "{said}");
}

/// The role that works knows other abbreviations than the one that installs, which is how a zone can be unknown behind the start.
#[tokio::test]
async fn a_chore_that_fails_keeps_no_other_from_its_turn() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let role = database.create_role("router").await.unwrap();
    let abbreviations = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone_abbreviations = %L', current_database(), 'Australia'); END $$";
    database.execute(abbreviations).await.unwrap();
    let rules =
        "[postgres]\napply = \"auto\"\n[router]\ntimezone = \"WST\"\n[[router.rule]]\nlabels = [\"x\"]\n";
    let options = with_secrets(NodeOptions::text(rules), &database.url_as(&role));
    let mut router = Node::spawn(options.env("PREGON_ADMIN_URL", database.url()))
        .await
        .unwrap();
    deliver(&router, &text("1", "wamid.1", "hola")).await;
    finished(&database).await;
    router.sigterm().await.unwrap();
    let old = format!(
        "ALTER ROLE \"{role}\" SET timezone_abbreviations = 'Default';
         UPDATE pregon_router.inbox SET received = received - interval '8 days'"
    );
    database.execute(&old).await.unwrap();
    router.restart().await.unwrap();
    becomes(&database, "SELECT count(*) FROM pregon_router.inbox", "0").await;
    let line = router
        .wait_for_log(
            "the time zone of the rules cannot be asked for",
            Duration::from_secs(10),
        )
        .await
        .unwrap();
    assert!(line.contains("WST"), "{line}");
}

#[tokio::test]
async fn areas_agents_and_labels_follow_the_words() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let router = with_rules(&database, RULES, "http://127.0.0.1:1").await;
    for (from, body) in [
        ("1", "¿Precio?"),
        ("2", "precio"),
        ("3", "hola"),
        ("1", "sigo"),
        ("4", "ayuda!"),
    ] {
        deliver(&router, &text(from, &format!("{from}{body}"), body)).await;
        finished(&database).await;
    }
    let all = "SELECT string_agg(concat_ws(' ', telefono, area, agente, array_to_string(etiquetas, '+')), ';' ORDER BY telefono) FROM conversaciones";
    assert_eq!(
        ask(&database, all).await,
        "1 ventas 1 precio+volvió;2 ventas 2 precio+volvió;3 general ;4 general "
    );
    // Somebody of the area comes, and with an agent gone the conversation goes to another.
    database
        .execute("UPDATE agentes SET en_linea = true WHERE id = 4; UPDATE agentes SET en_linea = false WHERE id = 1")
        .await
        .unwrap();
    for (from, id, body) in [("4", "x", "ayuda"), ("1", "y", "precio")] {
        deliver(&router, &text(from, id, body)).await;
    }
    finished(&database).await;
    let some = "SELECT string_agg(concat_ws(' ', telefono, area, agente), ';' ORDER BY telefono) FROM conversaciones WHERE telefono IN ('1', '4')";
    assert_eq!(ask(&database, some).await, "1 ventas 2;4 soporte 4");
}

#[tokio::test]
async fn a_reply_goes_out_once_and_becomes_a_message_of_the_bot() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let (graph, url) = Graph::start().await;
    // A passing error first, which is tried again.
    graph
        .answers
        .lock()
        .push((429, json!({"error": {"code": 130429, "message": "rate"}})));
    let rules = "[postgres]\napply = \"auto\"\n[router]\n[[router.rule]]\nfirst = true\nreply = \"Hola {nombre}\"\nbuttons = [\"v: Ventas\"]";
    let router = with_rules(&database, rules, &url).await;
    let mut hello = text("111", "wamid.1", "buenas");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    hello["entry"][0]["changes"][0]["value"]["messages"][0]["timestamp"] = json!(now.to_string());
    deliver(&router, &hello).await;
    deliver(&router, &hello).await;
    deliver(&router, &text("111", "wamid.2", "otra")).await;
    becomes(
        &database,
        "SELECT string_agg(mensaje, ',' ORDER BY id) FROM mensajes WHERE remitente_tipo = 'bot'",
        "Hola Ana",
    )
    .await;
    let asked = graph.wait(2).await;
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(
        (&asked[1]["path"], &asked[1]["token"]),
        (&json!("/109/messages"), &json!("Bearer token-graph"))
    );
    let body = &asked[1]["body"];
    assert_eq!(
        (&body["to"], &body["biz_opaque_callback_data"]),
        (&json!("111"), &json!("109/wamid.1/0"))
    );
    assert_eq!(body["interactive"]["body"]["text"], "Hola Ana");
    assert_eq!(
        ask(&database, "SELECT count(*) FROM pregon_router.outgoing").await,
        "0"
    );
    assert_eq!(ask(&database, "SELECT count(*) FROM conversaciones").await, "1");
}

#[tokio::test]
async fn what_cannot_be_sent_is_given_up_with_its_reason() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let (graph, url) = Graph::start().await;
    graph.answers.lock().push((
        400,
        json!({"error": {"code": 131026, "message": format!("undeliverable to {PLANTED}")}}),
    ));
    let rules = "[postgres]\napply = \"auto\"\n[router]\n[[router.rule]]\nreply = \"eco {mensaje}\"";
    let router = with_rules(&database, rules, &url).await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let mut fresh = text("111", "wamid.1", "a");
    fresh["entry"][0]["changes"][0]["value"]["messages"][0]["timestamp"] = json!(now.to_string());
    deliver(&router, &fresh).await;
    let mut old = text("222", "wamid.2", "b");
    old["entry"][0]["changes"][0]["value"]["messages"][0]["timestamp"] = json!((now - 90_000).to_string());
    deliver(&router, &old).await;
    becomes(
        &database,
        "SELECT count(*) FROM pregon_router.outgoing WHERE dead",
        "2",
    )
    .await;
    let why = ask(
        &database,
        "SELECT string_agg(error, '|' ORDER BY id) FROM pregon_router.outgoing",
    )
    .await;
    assert!(
        why.contains("131026 undeliverable") && why.contains("24 hours"),
        "{why}"
    );
    assert_eq!(graph.asked.lock().len(), 1);
}

#[tokio::test]
async fn a_webhook_is_signed_and_channels_hear_of_the_message() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let (graph, url) = Graph::start().await;
    graph.answers.lock().push((503, json!({})));
    let rules = format!(
        "[postgres]\napply = \"auto\"\n[router]\nwebhook_secret = \"firma\"\n[[router.rule]]\nwebhook = \"{url}/crm\"\npublish = \"numero_{{numero}}\""
    );
    let router = with_rules(&database, &rules, &url).await;
    let gateway = crate::support::node_on(&database, "[postgres]\n[auth]\nsecret = \"una-clave-solo-para-las-pruebas\"\n[[channel]]\nname = \"numero_{n}\"").await;
    let mut client = crate::support::connect(&gateway, &json!({"sub": 1})).await;
    client
        .send_json(&json!({"id": 1, "type": "subscribe", "channel": "numero_109"}))
        .await
        .unwrap();
    client.next_of_type("ok", crate::support::SOON).await.unwrap();
    deliver(&router, &text("111", "wamid.1", "hola")).await;
    let event = client.next_of_type("event", crate::support::SOON).await.unwrap();
    assert_eq!(
        (&event["event"], &event["data"]["wamid"]),
        (&json!("message:new"), &json!("wamid.1"))
    );
    let asked = graph.wait(2).await;
    for one in &asked {
        let body = one["text"].as_str().unwrap();
        assert_eq!(one["signature"], sign("firma", body.as_bytes()));
        assert_eq!(
            (&one["path"], &one["key"]),
            (&json!("/crm"), &json!("109/wamid.1/0/webhook"))
        );
        assert_eq!(one["body"]["message"]["mensaje"], "hola");
    }
    becomes(&database, "SELECT count(*) FROM pregon_router.outgoing", "0").await;
}

/// What a contact writes is a part of a name: it must not become another tenant's.
#[tokio::test]
async fn a_name_that_a_section_takes_apart_elsewhere_hears_nothing() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let section = "[[channel]]\nname = \"t_{t}_{n}\"\nsubscribe = \"channel.t == claims.sub\"\n";
    let rule = "[[router.rule]]\npublish = \"t_{texto}_{numero}\"";
    let router = with_rules(
        &database,
        &format!("[postgres]\napply = \"auto\"\n{section}{rule}"),
        "http://127.0.0.1:1",
    )
    .await;
    let config = format!("[postgres]\n[auth]\nsecret = \"una-clave-solo-para-las-pruebas\"\n{section}");
    let gateway = crate::support::node_on(&database, &config).await;
    let mut client = crate::support::connect(&gateway, &json!({"sub": "a"})).await;
    client.subscribe("t_a_b_109").await.unwrap();
    client.subscribe("t_a_109").await.unwrap();
    deliver(&router, &text("111", "wamid.1", "a_b")).await;
    deliver(&router, &text("111", "wamid.2", "a")).await;
    let event = client.next_of_type("event", crate::support::SOON).await.unwrap();
    assert_eq!(event["data"]["wamid"], "wamid.2", "{event}");
    crate::support::metric(&router, "pregon_router_ambiguous_total", |n| n == 1.0)
        .await
        .unwrap();
    let log = router.log();
    assert!(log.contains("router.rule[0]") && !log.contains("t_a_b"), "{log}");
}

#[tokio::test]
async fn a_peak_turns_the_router_to_its_queue_and_nothing_is_done_twice() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let rules = "[postgres]\napply = \"auto\"\n[router]\nmode = \"auto\"\n[router.queue]\nper_minute = 10\ncalm = \"1h\"\npoll = \"50ms\"";
    let router = with_rules(&database, rules, "http://127.0.0.1:1").await;
    for number in 0..30 {
        deliver(&router, &text("1", &format!("wamid.{number:02}"), "hola")).await;
    }
    router
        .wait_for_log("\"mode\":\"queued\"", crate::support::SOON)
        .await
        .unwrap();
    crate::support::metric(&router, "pregon_router_queued", |queued| queued == 1.0)
        .await
        .unwrap();
    finished(&database).await;
    let all = "SELECT string_agg(wamid, ',' ORDER BY id) FROM mensajes";
    let wanted: Vec<String> = (0..30).map(|number| format!("wamid.{number:02}")).collect();
    assert_eq!(ask(&database, all).await, wanted.join(","));
}

#[tokio::test]
async fn a_medium_is_fetched_within_its_limits_only() {
    let bytes: &[u8] = b"\xff\xd8 una foto";
    let hash = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (own, sum) = (url.clone(), hash.clone());
    let routes = axum::Router::new().fallback(move |request: Request| async move {
        let token = request
            .headers()
            .get("authorization")
            .is_some_and(|token| token == "Bearer t");
        let about = |kind: &str, sum: &str| {
            let body =
                json!({"url": format!("{own}/bytes"), "mime_type": kind, "sha256": sum, "file_size": 3});
            body.to_string().into_bytes()
        };
        let body = match request.uri().path() {
            "/bytes" if token => bytes.to_vec(),
            "/1" if token => about("image/jpeg", &sum),
            "/2" if token => about("application/x-msdownload", &sum),
            "/3" if token => about("audio/ogg; codecs=opus", "00"),
            _ => return Err(http::StatusCode::NOT_FOUND),
        };
        Ok(body)
    });
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let folder = tempfile::tempdir().unwrap();
    let fetch = async |id: &str, limit: &str| {
        let config = folder.path().join(format!("{limit}.toml"));
        let text = format!(
            "[postgres]\nurl = \"postgres://127.0.0.1:1/x\"\n[router]\ngraph_url = \"{url}\"\ntoken = \"t\"\nmedia_limit = \"{limit}\""
        );
        std::fs::write(&config, text).unwrap();
        let mut command = tokio::process::Command::new(crate::support::binary());
        command.args(["router", "media", id, "--config"]).arg(&config);
        let output = command.env_remove("WHATSAPP_GRAPH_URL").output().await.unwrap();
        (
            output.status.code(),
            output.stdout,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, got, errors) = fetch("1", "1KiB").await;
    assert_eq!((code, got.as_slice()), (Some(0), bytes), "{errors}");
    for (id, limit, why) in [
        ("1", "4B", "media_limit"),
        ("2", "1KiB", "media_types"),
        ("3", "1KiB", "not those"),
        ("4", "1KiB", "404"),
        ("../x", "1KiB", "is not the id of a medium"),
    ] {
        let (code, got, errors) = fetch(id, limit).await;
        assert_eq!((code, got.len()), (Some(1), 0), "{id}");
        assert!(errors.contains(why), "{id}: {errors}");
    }
}
