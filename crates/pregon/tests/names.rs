//! Columns may have any name, those that our own SQL uses too.

use pregon_testkit::{Database, WsClient, postgres};
use serde_json::json;

use crate::support::{SOON, node_on};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, pregon_row int, q int, row int, old int, double int GENERATED ALWAYS AS (id * 2) STORED)";

/// With a condition and some of the columns, so that every capture renders the row by a query of its own; `enrich` answers a
/// column of the name that its wrapper has.
#[tokio::test]
async fn a_column_is_called_like_an_alias_of_ours() {
    for mode in ["notify", "outbox", "wal"] {
        let database = Database::create(postgres::shared().await).await.unwrap();
        database.execute(TABLE).await.unwrap();
        let config = format!(
            "[postgres]\napply = \"auto\"\ncapture = \"{mode}\"\n[[channel]]\nname = \"t\"\n[[watch]]\nname = \"t\"\ntable = \"t\"\n\
             columns = [\"id\", \"pregon_row\", \"q\", \"row\", \"old\", \"double\"]\nwhere = \"q > 0 AND pregon_row > 0\"\n\
             [[route]]\nfrom = \"t\"\nto = \"t\"\nenrich = {{ sql = \"SELECT :q::int + 1 AS q\" }}\n"
        );
        let node = node_on(&database, &config).await;
        let mut client = WsClient::connect(&node.ws_url("/ws"), &[]).await.unwrap();
        client.subscribe("t").await.unwrap();
        database
            .execute("INSERT INTO t VALUES (1, 0, 3, 4, 5), (2, 2, 3, 4, 5)")
            .await
            .unwrap();
        let event = client.next_of_type("event", SOON).await.unwrap();
        let row = json!({"id": 2, "pregon_row": 2, "q": 4, "row": 4, "old": 5, "double": 4});
        assert_eq!(event["data"], row, "{mode}: {event}");
        client.expect_silence().await.unwrap();
    }
}
