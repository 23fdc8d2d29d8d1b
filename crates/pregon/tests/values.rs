//! Values that no program can hold whole, and columns named like the words of a rule: what is about them arrives all the same.

use pregon_testkit::{Database, Node, WsClient, http, postgres};
use serde_json::json;

use crate::support::{SOON, connect, metric, node, node_on};

const MODES: [&str; 3] = ["notify", "outbox", "wal"];

/// What a program cannot read, as SQL and as the JSON text of its value.
const STRANGE: [(&str, &str); 3] = [
    ("'{\"n\":1e400}'::json", r#"{"n":1e400}"#),
    (r#"'"cut \ud83d"'::json"#, r#""cut \ud83d""#),
    (r#"'{"cut \ud83d":1}'::json"#, r#"{"cut \ud83d":1}"#),
];

async fn follow(node: &Node, channels: &[&str]) -> WsClient {
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.next_of_type("welcome", SOON).await.unwrap();
    for channel in channels {
        client.subscribe(channel).await.unwrap();
    }
    client
}

/// Channel and payload of the next event, as they were written; a gap fails.
async fn next(client: &mut WsClient) -> String {
    loop {
        let text = client.next_text(SOON).await.unwrap();
        assert!(!text.contains("\"type\":\"gap\""), "{text}");
        if let Some((head, data)) = text.split_once("\"data\":") {
            let data = data.rsplit_once(",\"position\"").map_or(data, |(data, _)| data);
            let channel = head
                .split("\"channel\":\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            return format!("{} {data}", channel.unwrap_or_default());
        }
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_read_hides_no_row() {
    for mode in MODES {
        let database = Database::create(postgres::shared().await).await.unwrap();
        let table = "CREATE TABLE t (id int PRIMARY KEY, kind text, n numeric, j json)";
        database.execute(table).await.unwrap();
        let config = format!(
            "[postgres]\napply = \"auto\"\ncapture = \"{mode}\"\n[[watch]]\ntable = \"t\"\n\
             [[route]]\nfrom = \"t\"\nwhen = \"row.kind == 'a'\"\nto = \"kind_{{kind}}\"\n\
             [[route]]\nfrom = \"t\"\nto = \"built\"\npayload = {{ id = \"row.id + 0\", j = \"row.j\", n = \"row.n\" }}\n\
             [[channel]]\nname = \"kind_{{kind}}\"\n[[channel]]\nname = \"built\"\n"
        );
        let node = node_on(&database, &config).await;
        let mut client = follow(&node, &["kind_a", "built"]).await;
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        let deep = (format!("'{deep}'::json"), deep);
        let strange = STRANGE
            .iter()
            .map(|(sql, text)| ((*sql).to_owned(), (*text).to_owned()));
        let huge = format!("1{}", "0".repeat(400));
        for (id, (sql, text)) in strange.chain([deep]).enumerate() {
            database
                .execute(&format!("INSERT INTO t VALUES ({id}, 'a', 1e400, {sql})"))
                .await
                .unwrap();
            let whole = format!(r#"kind_a {{"id":{id},"kind":"a","n":{huge},"j":{text}}}"#);
            assert_eq!(next(&mut client).await, whole, "{mode}");
            let built = format!(r#"built {{"id":{id},"j":{text},"n":{huge}}}"#);
            assert_eq!(next(&mut client).await, built, "{mode}");
        }
        metric(&node, "pregon_unreadable_values_total{source=\"t\"}", |values| {
            values == 8.0
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_notification_with_one_reaches_whom_its_condition_names() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let config = "[postgres]\n[[listen]]\nchannel = \"avisos\"\n[[route]]\nfrom = \"avisos\"\n\
        when = \"message.kind == 'a' && !has(message.no)\"\nto = \"k_{kind}\"\n[[channel]]\nname = \"k_{kind}\"\n";
    let node = node_on(&database, config).await;
    let mut client = follow(&node, &["k_a"]).await;
    let deep = format!(r#"{{"kind":"a","d":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    for text in [
        r#"{"kind":"a","n":1e400}"#,
        r#"{"t":"cut \ud83d","kind":"a"}"#,
        r#"{"cut \ud83d":1,"kind":"a"}"#,
        &deep,
    ] {
        let notify = database.client().await.unwrap();
        notify
            .execute("SELECT pg_notify('avisos', $1)", &[&text])
            .await
            .unwrap();
        assert_eq!(next(&mut client).await, format!("k_a {text}"));
    }
}

#[tokio::test]
async fn a_delivery_that_was_answered_arrives() {
    let config = "[[webhook]]\nname = \"w\"\npath = \"/w\"\npreset = \"hmac\"\nsecret = \"s\"\n\
        [[route]]\nfrom = \"w\"\nwhen = \"message.type == 'paid'\"\nto = \"pagos\"\npayload = { type = \"message.type\", n = \"message.n\" }\n\
        [[channel]]\nname = \"pagos\"\n";
    let node = node(config).await;
    let mut client = follow(&node, &["pagos"]).await;
    let body = r#"{"type":"paid","n":1e400,"t":"cut \ud83d"}"#;
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"s");
    let signature = hex::encode(aws_lc_rs::hmac::sign(&key, body.as_bytes()));
    let headers = [("x-signature-256", signature.as_str())];
    let answer = http::request("POST", &node.url("/w"), &headers, body.as_bytes())
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.body);
    assert_eq!(next(&mut client).await, r#"pagos {"n":1e400,"type":"paid"}"#);
}

#[tokio::test]
async fn what_a_client_emits_is_routed_whatever_stands_beside() {
    let config = "[auth]\nsecret = \"una-clave-solo-para-las-pruebas\"\n[socketio]\n[[route]]\nfrom = \"clients\"\n\
        when = \"message.kind == 'a'\"\nto = \"sala\"\n[[channel]]\nname = \"sala\"\npublish = \"true\"\n";
    let node = node(config).await;
    let mut client = connect(&node, &json!({"sub": "1"})).await;
    client.subscribe("sala").await.unwrap();
    let url = format!(
        "{}&EIO=4&transport=websocket",
        node.ws_url(&format!(
            "/socket.io/?token={}",
            crate::support::token(&json!({"sub": "2"}))
        ))
    );
    let mut sender = WsClient::connect(&url, &[]).await.unwrap();
    sender.next_text(SOON).await.unwrap();
    sender.send_text("40").await.unwrap();
    sender.next_text(SOON).await.unwrap();
    let deep = format!(r#"{{"kind":"a","d":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    for text in [
        r#"{"kind":"a","n":1e400}"#,
        r#"{"t":"cut \ud83d","kind":"a"}"#,
        &deep,
    ] {
        sender.send_text(&format!("42[\"dice\",{text}]")).await.unwrap();
        assert_eq!(next(&mut client).await, format!("sala {text}"));
    }
}

#[tokio::test]
async fn columns_named_like_the_words_of_a_rule_are_columns() {
    for mode in MODES {
        let database = Database::create(postgres::shared().await).await.unwrap();
        let table = r#"CREATE TABLE t (id int PRIMARY KEY, channel text, message text, event text, claims text, "row" text, old text);
            CREATE TABLE names (channel text, found text); INSERT INTO names VALUES ('c1', 'yes')"#;
        database.execute(table).await.unwrap();
        let config = format!(
            "[postgres]\napply = \"auto\"\ncapture = \"{mode}\"\n[[watch]]\ntable = \"t\"\n\
             [[route]]\nfrom = \"t\"\nto = \"to_{{channel}}_{{message}}_{{event}}_{{claims}}_{{row}}_{{old}}\"\nevent = \"{{op}}:{{row.channel}}\"\n\
             payload = {{ found = \"row.found\", op = \"op\" }}\n\
             enrich = {{ sql = \"SELECT found FROM names WHERE channel = :channel AND :message = 'm'\" }}\n\
             [[channel]]\nname = \"to_{{a}}\"\n"
        );
        let node = node_on(&database, &config).await;
        let mut client = follow(&node, &["to_c1_m_e_cl_r_o"]).await;
        database
            .execute("INSERT INTO t VALUES (1, 'c1', 'm', 'e', 'cl', 'r', 'o')")
            .await
            .unwrap();
        let event = client.next_of_type("event", SOON).await.unwrap();
        assert_eq!(event["event"], "insert:c1", "{mode}");
        assert_eq!(event["data"], json!({"found": "yes", "op": "insert"}), "{mode}");
    }
}

#[tokio::test]
async fn numbers_are_texts_where_a_route_says_so() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let table = "CREATE TABLE t (id bigint PRIMARY KEY, total numeric, nota text)";
    database.execute(table).await.unwrap();
    let config = "[postgres]\napply = \"auto\"\n[[watch]]\ntable = \"t\"\n\
        [[route]]\nfrom = \"t\"\nto = \"all\"\nas_text = \"*\"\n\
        [[route]]\nfrom = \"t\"\nto = \"some\"\npayload = { suma = \"row.total\", id = \"row.id\" }\nas_text = [\"suma\"]\n\
        [[channel]]\nname = \"all\"\n[[channel]]\nname = \"some\"\n";
    let node = node_on(&database, config).await;
    let mut client = follow(&node, &["all", "some"]).await;
    database
        .execute("INSERT INTO t VALUES (9007199254740993, 10.50, '7')")
        .await
        .unwrap();
    assert_eq!(
        next(&mut client).await,
        r#"all {"id":"9007199254740993","total":"10.50","nota":"7"}"#
    );
    assert_eq!(
        next(&mut client).await,
        r#"some {"id":9007199254740993,"suma":"10.50"}"#
    );
}

#[tokio::test]
async fn a_query_that_one_event_breaks_serves_the_others() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let table = "CREATE TABLE t (id int PRIMARY KEY, other text); \
        CREATE TABLE names (id int, nombre text); INSERT INTO names SELECT n, 'n' || n FROM generate_series(1, 20) n";
    database.execute(table).await.unwrap();
    let config = "[postgres]\napply = \"auto\"\n[[watch]]\ntable = \"t\"\n[[route]]\nfrom = \"t\"\nto = \"x\"\n\
        payload = { id = \"row.id\", nombre = \"has(row.nombre) ? row.nombre : ''\" }\n\
        enrich = { sql = \"SELECT nombre FROM names WHERE id = :other::text::int\" }\n[[channel]]\nname = \"x\"\n";
    let node = node_on(&database, config).await;
    let mut client = follow(&node, &["x"]).await;
    let rows =
        "INSERT INTO t SELECT n, CASE n WHEN 7 THEN 'seven' ELSE n::text END FROM generate_series(1, 20) n";
    database.execute(rows).await.unwrap();
    for id in 1..=20 {
        let name = if id == 7 { String::new() } else { format!("n{id}") };
        assert_eq!(
            next(&mut client).await,
            format!(r#"x {{"id":{id},"nombre":"{name}"}}"#)
        );
    }
    metric(&node, "pregon_drops_total{reason=\"enrich\"}", |drops| {
        drops == 1.0
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_route_that_fails_says_which_event_and_why_once_a_minute() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database
        .execute("CREATE TABLE t (id int PRIMARY KEY, kind text)")
        .await
        .unwrap();
    let config = "[postgres]\napply = \"auto\"\n[[watch]]\ntable = \"t\"\n[[route]]\nfrom = \"t\"\nto = \"all\"\n\
        [[route]]\nfrom = \"t\"\nto = \"a\"\nwhen = \"row.knd == 'a'\"\n\
        [[route]]\nfrom = \"t\"\nto = \"k_{knd}\"\n[[channel]]\nname = \"all\"\n";
    let node = node_on(&database, config).await;
    for (key, near) in [
        ("route[1].when", "did you mean `kind`?"),
        ("route[2].to", "did you mean `kind`?"),
    ] {
        let line = node.wait_for_log(key, SOON).await.unwrap();
        assert!(
            line.contains(near) && line.contains("public.t has no column `knd`"),
            "{line}"
        );
        assert!(line.contains("pregon.toml"), "{line}");
    }
    let mut client = follow(&node, &["all"]).await;
    let rows = "INSERT INTO t SELECT n, 'a' FROM generate_series(1, 50) n";
    database.execute(rows).await.unwrap();
    for _ in 1..=50 {
        next(&mut client).await;
    }
    let told = |route: &str| -> Vec<String> {
        let lines = node.lines().into_iter();
        lines
            .filter(|line| line.contains("could not be applied") && line.contains(route))
            .collect()
    };
    let both = || async { !told("route[1]").is_empty() && !told("route[2]").is_empty() };
    pregon_testkit::eventually(SOON, both).await.unwrap();
    let (when, to) = (told("route[1]"), told("route[2]"));
    assert_eq!((when.len(), to.len()), (1, 1), "{when:?} {to:?}");
    assert!(
        when[0].contains("No such key") && when[0].contains("insert") && when[0].contains("knd"),
        "{when:?}"
    );
    assert!(to[0].contains("the row has no column `knd`"), "{to:?}");
    metric(&node, "pregon_drops_total{reason=\"rule\"}", |drops| {
        drops == 50.0
    })
    .await
    .unwrap();
}
