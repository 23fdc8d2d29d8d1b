//! A gateway and what it was installed with: triggers of others, other configurations, hands that touch it, tables that change.

use pregon_testkit::{Database, Node, WsClient, postgres};

use super::{file, run};
use crate::support::{SOON, metric, node_on, options, readiness};

const TABLE: &str = "CREATE TABLE pedidos (id int PRIMARY KEY, estado text)";
const MODES: [&str; 2] = ["notify", "outbox"];

fn config(mode: &str, apply: &str, watch: &str) -> String {
    format!(
        "[postgres]\napply = \"{apply}\"\ncapture = \"{mode}\"\nheartbeat = \"200ms\"\n[[channel]]\nname = \"pedidos\"\n\
         [[watch]]\ntable = \"pedidos\"\n{watch}\n"
    )
}

async fn database() -> Database<'static> {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLE).await.unwrap();
    database
}

async fn follower(node: &Node) -> WsClient {
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.subscribe("pedidos").await.unwrap();
    client
}

/// An audit trigger changes the level that is best for ours; nothing is wrong with the other.
#[tokio::test]
async fn a_trigger_of_the_application_is_no_reason_to_refuse() {
    const AUDIT: &str =
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER audit AFTER INSERT ON pedidos FOR EACH ROW EXECUTE FUNCTION audit()";
    for mode in MODES {
        let database = database().await;
        let (text, url) = (config(mode, "manual", ""), database.url());
        let path = file(&text);
        let command = |words: &[&str]| {
            run(
                &[words, &["--config", path.to_str().unwrap()]].concat(),
                &[("DATABASE_URL", &url)],
            )
        };
        assert_eq!(command(&["db", "apply"]).code, 0);
        for change in [AUDIT, "DROP TRIGGER audit ON pedidos"] {
            database.execute(change).await.unwrap();
            let node = node_on(&database, &text).await;
            if change == AUDIT {
                node.wait_for_log("captured as they should be", SOON)
                    .await
                    .unwrap();
                for words in [&["db", "plan"][..], &["db", "status"]] {
                    let told = command(words);
                    assert!(
                        told.code == 1 && told.out.contains("its events or its level differ"),
                        "{told:?}"
                    );
                }
                let doctor = command(&["doctor", "--json", "--sample", "0s"]).json();
                let objects = doctor
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|check| check["id"] == "W3")
                    .unwrap();
                assert!(
                    objects["status"] == "warn" && objects["detail"].to_string().contains("level"),
                    "{objects}"
                );
            } else {
                assert_eq!(command(&["db", "status"]).code, 0);
            }
            let mut client = follower(&node).await;
            let insert = "INSERT INTO pedidos SELECT count(*), 'a' FROM pedidos";
            database.execute(insert).await.unwrap();
            let event = client.next_of_type("event", SOON).await.unwrap();
            assert_eq!(event["event"], "insert");
        }
    }
}

#[tokio::test]
async fn a_gateway_whose_function_was_replaced_is_not_ready() {
    for mode in MODES {
        let database = database().await;
        let node = node_on(
            &database,
            &config(mode, "auto", "where = \"estado <> 'borrado'\""),
        )
        .await;
        let mut client = follower(&node).await;
        // Without the condition.
        let (other, url) = (config(mode, "auto", ""), database.url());
        let second = options(&other).env("DATABASE_URL", &url).not_ready();
        let refused = format!("{:#}", Node::spawn(second).await.unwrap_err());
        assert!(
            refused.contains("another configuration") && refused.contains("--takeover"),
            "{refused}"
        );
        database
            .execute("INSERT INTO pedidos VALUES (1, 'borrado'), (2, 'nuevo')")
            .await
            .unwrap();
        assert_eq!(client.next_of_type("event", SOON).await.unwrap()["data"]["id"], 2);
        readiness(&node, 200, "ready", SOON).await;

        let path = file(&other);
        let apply = ["db", "apply", "--config", path.to_str().unwrap()];
        let env = [("DATABASE_URL", url.as_str())];
        let refused = run(&apply, &env);
        assert!(
            refused.code == 1 && refused.err.contains("--takeover"),
            "{refused:?}"
        );
        let taken = run(&[&apply[..], &["--takeover"]].concat(), &env);
        assert_eq!(taken.code, 0, "{taken:?}");
        readiness(&node, 503, "installed by another configuration", SOON).await;

        let path = file(&config(mode, "auto", "where = \"estado <> 'borrado'\""));
        let back = run(
            &["db", "apply", "--takeover", "--config", path.to_str().unwrap()],
            &env,
        );
        assert_eq!(back.code, 0, "{back:?}");
        readiness(&node, 200, "ready", SOON).await;
        assert_eq!(
            client.next_of_type("gap", SOON).await.unwrap()["channel"],
            "pedidos"
        );
    }
}

/// In one transaction, so that no look can fall between.
#[tokio::test]
async fn a_trigger_that_was_off_for_a_moment_is_a_gap() {
    let off = "BEGIN; ALTER TABLE pedidos DISABLE TRIGGER ALL; INSERT INTO pedidos VALUES (1, 'a');
        ALTER TABLE pedidos ENABLE TRIGGER ALL; COMMIT";
    for mode in MODES {
        let database = database().await;
        let node = node_on(&database, &config(mode, "auto", "")).await;
        let mut client = follower(&node).await;
        metric(&node, "pregon_source_up{source=\"triggers\"}", |up| up == 1.0)
            .await
            .unwrap();
        database.execute(off).await.unwrap();
        assert_eq!(
            client.next_of_type("gap", SOON).await.unwrap()["channel"],
            "pedidos"
        );
        node.wait_for_log("were changed meanwhile", SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_watch_whose_trigger_fails_is_named_until_it_works_again() {
    for mode in MODES {
        let database = database().await;
        let node = node_on(&database, &config(mode, "auto", "columns = [\"id\", \"estado\"]")).await;
        let mut client = follower(&node).await;
        let failing = "pregon_watch_failing{watch=\"pedidos\"}";
        database
            .execute("ALTER TABLE pedidos RENAME estado TO situacion; INSERT INTO pedidos VALUES (1, 'a')")
            .await
            .unwrap();
        let told = readiness(&node, 200, "degraded: watch \"pedidos\": its trigger fails", SOON).await;
        assert!(told.contains("estado"), "{told}");
        metric(&node, failing, |failing| failing == 1.0).await.unwrap();
        client.next_of_type("gap", SOON).await.unwrap();
        database
            .execute("ALTER TABLE pedidos RENAME situacion TO estado; INSERT INTO pedidos VALUES (2, 'b')")
            .await
            .unwrap();
        assert_eq!(client.next_of_type("event", SOON).await.unwrap()["data"]["id"], 2);
        metric(&node, failing, |failing| failing == 0.0).await.unwrap();
        assert_eq!(readiness(&node, 200, "ready", SOON).await, "ready\n");
    }
}
