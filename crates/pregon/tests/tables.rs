//! Tables that become a part of another one, or get parts, while a gateway watches them: in both captures by triggers rows that come
//! through a root are captured again within two heartbeats, and the time before is a gap.

use pregon_testkit::{Database, Node, NodeOptions, WsClient, postgres};
use serde_json::json;

use crate::support::{SOON, options, readiness};

const CAPTURES: [&str; 2] = ["notify", "outbox"];

fn config(capture: &str, apply: &str) -> String {
    format!(
        "[postgres]\napply = \"{apply}\"\ncapture = \"{capture}\"\nheartbeat = \"300ms\"\n[[channel]]\nname = \"t\"\n[[watch]]\ntable = \"t\"\n"
    )
}

struct Shop {
    database: Database<'static>,
    node: Node,
    client: WsClient,
}

impl Shop {
    async fn new(schema: &str, capture: &str) -> Self {
        let database = Database::create(postgres::shared().await).await.unwrap();
        database.execute(schema).await.unwrap();
        let node = crate::support::node_on(&database, &config(capture, "auto")).await;
        let client = follow(&node).await;
        let mut shop = Self {
            database,
            node,
            client,
        };
        shop.insert("t", 1).await;
        shop.expect(1).await;
        shop
    }

    async fn run(&self, sql: &str) {
        self.database.execute(sql).await.unwrap();
    }

    async fn insert(&self, table: &str, id: i64) {
        self.run(&format!("INSERT INTO {table} VALUES ({id}, {id})"))
            .await;
    }

    /// The next message is the row's event.
    async fn expect(&mut self, id: i64) {
        let event = self.client.next_of_type("event", SOON).await.unwrap();
        assert_eq!(event["data"]["id"], json!(id), "{event}");
    }

    /// A gap comes, before any event of a row that is not `allowed`.
    async fn gap(&mut self, allowed: &[i64]) {
        loop {
            let message = self.client.next_json(SOON).await.unwrap();
            match message["type"].as_str() {
                Some("gap") => return,
                Some("event") => {
                    let id = message["data"]["id"].as_i64().unwrap();
                    assert!(allowed.contains(&id), "{message} without a gap before it");
                }
                _ => {}
            }
        }
    }

    /// A row that is written after this is captured: everything is in place, and what was missed was told.
    async fn mended(&mut self, table: &str, id: i64) {
        readiness(&self.node, 200, "", SOON).await;
        self.insert(table, id).await;
        loop {
            let message = self.client.next_json(SOON).await.unwrap();
            if message["type"] == "event" && message["data"]["id"] == json!(id) {
                return;
            }
        }
    }
}

async fn follow(node: &Node) -> WsClient {
    let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
    client.subscribe("t").await.unwrap();
    client
}

const PLAIN: &str = "CREATE TABLE t (id int, n int, PRIMARY KEY (id, n))";

#[tokio::test]
async fn a_watched_table_that_is_attached_reports_what_comes_through_its_root() {
    for capture in CAPTURES {
        let mut shop = Shop::new(PLAIN, capture).await;
        shop.run(
            "CREATE TABLE root (id int, n int, PRIMARY KEY (id, n)) PARTITION BY LIST (n);
                  CREATE TABLE other PARTITION OF root DEFAULT",
        )
        .await;
        // Deeper than one level: what holds the rows is far from what is written.
        shop.run(
            "CREATE TABLE inner_root (id int, n int, PRIMARY KEY (id, n)) PARTITION BY RANGE (id);
                  ALTER TABLE inner_root ATTACH PARTITION t FOR VALUES FROM (0) TO (100);
                  DROP TABLE other; ALTER TABLE root ATTACH PARTITION inner_root DEFAULT;
                  INSERT INTO root VALUES (2, 2)",
        )
        .await;
        shop.gap(&[2]).await;
        shop.mended("root", 3).await;
        shop.run("UPDATE root SET n = 7 WHERE id = 3; DELETE FROM root WHERE id = 3")
            .await;
        let kinds = ["update", "delete"];
        for kind in kinds {
            let event = shop.client.next_of_type("event", SOON).await.unwrap();
            assert_eq!(event["event"], kind, "{capture}: {event}");
        }
    }
}

#[tokio::test]
async fn a_table_that_begins_to_inherit_from_a_watched_one_is_captured() {
    for capture in CAPTURES {
        let mut shop = Shop::new(PLAIN, capture).await;
        shop.run("CREATE TABLE child (id int NOT NULL, n int NOT NULL); INSERT INTO child VALUES (5, 5); ALTER TABLE child INHERIT t").await;
        shop.gap(&[]).await;
        shop.mended("child", 6).await;
        shop.run("UPDATE t SET n = 8 WHERE id = 5").await;
        let event = shop.client.next_of_type("event", SOON).await.unwrap();
        assert_eq!(
            (&event["event"], &event["data"]["n"]),
            (&json!("update"), &json!(8))
        );
        // The watched one becomes a child itself: its rows are written through the parent.
        shop.run("CREATE TABLE parent (id int NOT NULL, n int NOT NULL); ALTER TABLE t INHERIT parent; UPDATE parent SET n = 9 WHERE id = 5").await;
        let event = shop.client.next_of_type("event", SOON).await.unwrap();
        assert_eq!(event["data"]["n"], json!(9));
    }
}

/// As TimescaleDB does: the root holds nothing, and where a row goes is made when it comes.
#[tokio::test]
async fn children_that_are_made_when_rows_come_are_captured() {
    const ROUTED: &str = "CREATE TABLE t (id int, n int);
        CREATE FUNCTION route() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          EXECUTE format('CREATE TABLE IF NOT EXISTS chunk_%s () INHERITS (t)', NEW.id / 10);
          EXECUTE format('INSERT INTO chunk_%s SELECT ($1).*', NEW.id / 10) USING NEW;
          RETURN NULL; END $$;
        CREATE TABLE chunk_0 () INHERITS (t);
        CREATE TRIGGER route BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION route()";
    for capture in CAPTURES {
        let mut shop = Shop::new(ROUTED, capture).await;
        shop.insert("t", 11).await;
        shop.gap(&[]).await;
        shop.mended("t", 12).await;
    }
}

/// Without `apply = "auto"` the gateway changes nothing: it says 503 until somebody applies, and the time is a gap. From the outbox a
/// gateway that was not there in the meantime hears of it too.
#[tokio::test]
async fn a_manual_gateway_is_not_ready_until_somebody_applies() {
    for capture in CAPTURES {
        let database = Database::create(postgres::shared().await).await.unwrap();
        database.execute(PLAIN).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let with = |apply: &str| config(capture, apply) + "[log]\nkind = \"disk\"\n";
        let spawn = async |apply: &str| {
            let options: NodeOptions = options(&with(apply))
                .env("DATABASE_URL", database.url())
                .env("PREGON_DATA", folder.path().display().to_string());
            Node::spawn(options).await.unwrap()
        };
        drop(spawn("auto").await);
        let mut node = Some(spawn("manual").await);
        database
            .execute(
                "CREATE TABLE root (id int, n int, PRIMARY KEY (id, n)) PARTITION BY LIST (n);
                 ALTER TABLE root ATTACH PARTITION t DEFAULT; INSERT INTO root VALUES (1, 1)",
            )
            .await
            .unwrap();
        let running = node.as_ref().unwrap();
        readiness(running, 503, "", SOON).await;
        let reason = "no enabled trigger for INSERT on public.t";
        assert!(running.log().contains(reason), "{}", running.log());
        // From the outbox a gateway that was away meanwhile hears of it too.
        if capture == "outbox" {
            node = None;
        }
        let file = folder.path().join("pregon.toml");
        std::fs::write(&file, with("manual")).unwrap();
        let mut apply = std::process::Command::new(crate::support::binary());
        apply.args(["db", "apply", "--config"]).arg(&file);
        let applied = apply.env("DATABASE_URL", database.url()).output().unwrap();
        let said = String::from_utf8_lossy(&applied.stdout).into_owned();
        assert!(
            applied.status.success() && said.contains("gap of watch t"),
            "{said}"
        );
        let node = match node {
            Some(node) => node,
            None => spawn("manual").await,
        };
        readiness(&node, 200, "", SOON).await;
        let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
        client
            .request(json!({"type": "subscribe", "channel": "t", "since": "10m"}))
            .await
            .unwrap();
        client.next_of_type("gap", SOON).await.unwrap();
    }
}

/// Rows that come with a partition, and go with one, fire no trigger.
#[tokio::test]
async fn partitions_that_come_and_go_with_rows_are_gaps() {
    for capture in CAPTURES {
        let mut shop = Shop::new(
            "CREATE TABLE t (id int, n int, PRIMARY KEY (id, n)) PARTITION BY LIST (n); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)",
            capture,
        )
        .await;
        // A new one that is filled through the root is no gap.
        shop.run("CREATE TABLE t3 PARTITION OF t FOR VALUES IN (3)").await;
        shop.insert("t", 3).await;
        shop.expect(3).await;
        shop.run("CREATE TABLE t4 (id int NOT NULL, n int NOT NULL); ALTER TABLE t ATTACH PARTITION t4 FOR VALUES IN (4)").await;
        shop.insert("t", 4).await;
        shop.expect(4).await;
        shop.client.expect_silence().await.unwrap();
        shop.run(
            "CREATE TABLE t2 (id int NOT NULL, n int NOT NULL); INSERT INTO t2 VALUES (2, 2), (5, 2);
                  ALTER TABLE t ATTACH PARTITION t2 FOR VALUES IN (2)",
        )
        .await;
        shop.gap(&[]).await;
        shop.run("ALTER TABLE t DETACH PARTITION t2").await;
        shop.gap(&[]).await;
        shop.run("DROP TABLE t3").await;
        shop.gap(&[]).await;
        readiness(&shop.node, 200, "", SOON).await;
    }
}
