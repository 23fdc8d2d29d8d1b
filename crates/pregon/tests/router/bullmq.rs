//! A stock worker of BullMQ gets each message as a job, once.

use pregon_testkit::{Database, Node, NodeOptions, Redis, postgres};
use serde_json::json;

use super::{becomes, deliver, text, with_secrets};
use crate::support::official::Official;

#[tokio::test]
async fn a_stock_worker_gets_every_message_once() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let redis = Redis::start().await.unwrap();
    let config = "[postgres]\napply = \"auto\"\n[redis]\n[router]\n[[router.rule]]\nbullmq = \"mensajes\"";
    let options = with_secrets(NodeOptions::text(config), &database.url()).env("REDIS_URL", redis.url());
    let router = Node::spawn(options).await.unwrap();
    // One before the worker comes, one twice, others while it works.
    deliver(&router, &text("1", "wamid.0", "antes")).await;
    becomes(&database, "SELECT count(*) FROM pregon_router.outgoing", "0").await;
    let mut worker = Official::start("bullmq/worker.mjs", &[&redis.url(), "mensajes"]);
    let first = worker.wait("job").await;
    assert_eq!(
        (&first["name"], &first["data"]["message"]["mensaje"]),
        (&json!("message"), &json!("antes"))
    );
    assert_eq!(first["data"]["conversation"]["telefono"], "1");
    for number in [1, 1, 2, 3] {
        deliver(
            &router,
            &text("1", &format!("wamid.{number}"), &format!("n{number}")),
        )
        .await;
    }
    for number in 1..=3 {
        let job = worker.wait("job").await;
        assert_eq!(job["data"]["message"]["wamid"], format!("wamid.{number}"));
    }
    becomes(&database, "SELECT count(*) FROM pregon_router.outgoing", "0").await;
    let jobs = worker.lines().iter().filter(|line| line["on"] == "job").count();
    assert_eq!(jobs, 4, "{}", worker.story());
}
