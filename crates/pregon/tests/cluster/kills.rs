//! Nodes that die in turn under load, with clients that move between them.

use std::time::Duration;

use pregon_testkit::{Node, WsClient, eventually, http};
use serde_json::json;

use super::{config, insert, leader, nodes, shop};
use crate::support::{API_KEY, SOON, readiness};

/// Nodes are killed and come back in turn while rows and publishes come; clients move to whatever node is there. `CLUSTER_KILLS` says how
/// often.
#[tokio::test]
async fn nodes_that_die_in_turn_lose_and_repeat_nothing() {
    let database = shop().await;
    let mut nodes: [Node; 3] = nodes(&database, &config("outbox")).await;
    let urls: Vec<(String, String)> = nodes
        .iter()
        .map(|node| (node.ws_url("/ws"), node.url("")))
        .collect();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let rows = tokio::spawn(insert(database.url(), 1, stopped.clone()));
    let publishing = tokio::spawn(publish_anywhere(urls.clone(), stopped));
    let (told, last) = tokio::sync::watch::channel((i64::MAX, i64::MAX));
    let readers: Vec<_> = (0..3)
        .map(|n| tokio::spawn(read_anywhere(urls.clone(), n, last.clone())))
        .collect();
    let kills: usize = std::env::var("CLUSTER_KILLS").map_or(6, |kills| kills.parse().unwrap());
    for round in 0..kills {
        let victim = if round % 2 == 0 {
            leader(&nodes, "outbox").await
        } else {
            round % 3
        };
        nodes[victim].kill9().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        nodes[victim].restart().await.unwrap();
        readiness(&nodes[victim], 200, "ready", 2 * SOON).await;
    }
    stop.send(true).unwrap();
    let (rows, published) = (rows.await.unwrap(), publishing.await.unwrap());
    told.send((rows, published)).unwrap();
    for reader in readers {
        let (seen_rows, seen_published) = reader.await.unwrap();
        assert_eq!(seen_rows, (1..=rows).collect::<Vec<i64>>());
        assert_eq!(seen_published, (1..=published).collect::<Vec<i64>>());
    }
    println!("{rows} rows and {published} publishes through {kills} kills");
}

/// Publishes numbers, each with a key and again until it is answered, at one node after the other; how many.
async fn publish_anywhere(urls: Vec<(String, String)>, stop: tokio::sync::watch::Receiver<bool>) -> i64 {
    let key = format!("Bearer {API_KEY}");
    let mut n = 0;
    while !*stop.borrow() {
        n += 1;
        let id = format!("n{n}");
        let headers = [("authorization", key.as_str()), ("idempotency-key", id.as_str())];
        let body = json!({"channel": "news", "event": "n", "data": n});
        let mut at = n as usize;
        eventually(2 * SOON, || {
            at += 1;
            let url = format!("{}/api/publish", urls[at % urls.len()].1.trim_end_matches('/'));
            let (headers, body) = (&headers, &body);
            async move {
                let answer = http::post_json(&url, headers, body).await?;
                anyhow::ensure!(answer.status() == 200, "{}", answer.body);
                Ok(())
            }
        })
        .await
        .unwrap();
    }
    n
}

/// Follows both channels at one node until it is gone, and then at the next with the last position; what came, up to the last ones.
async fn read_anywhere(
    urls: Vec<(String, String)>,
    first: usize,
    last: tokio::sync::watch::Receiver<(i64, i64)>,
) -> (Vec<i64>, Vec<i64>) {
    let (mut rows, mut published) = (Vec::new(), Vec::new());
    let mut since: Option<String> = None;
    let mut at = first;
    loop {
        let Ok(mut client) = WsClient::connect(&urls[at % urls.len()].0, &[]).await else {
            at += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut lost = false;
        for channel in ["pedidos", "news"] {
            let mut command = json!({"type": "subscribe", "channel": channel, "last": 1_000});
            if let Some(since) = &since {
                command = json!({"type": "subscribe", "channel": channel, "since": since});
            }
            match client.request(command).await {
                Ok(answer) => assert!(since.is_none() || answer["recovered"] == true, "{answer}"),
                Err(_) => lost = true,
            }
        }
        while !lost {
            if (rows.len() as i64, published.len() as i64) == *last.borrow() {
                return (rows, published);
            }
            match client.next_json(Duration::from_millis(500)).await {
                Ok(message) if message["type"] == "event" => {
                    let seen = if message["channel"] == "news" {
                        &mut published
                    } else {
                        &mut rows
                    };
                    seen.push(
                        message["data"]
                            .get("id")
                            .unwrap_or(&message["data"])
                            .as_i64()
                            .unwrap(),
                    );
                    since = message["position"].as_str().map(str::to_owned);
                }
                Ok(message) => assert_ne!(message["type"], "gap", "{message}"),
                // Silence is no end: a ping tells.
                Err(_) => lost = client.request(json!({"type": "ping"})).await.is_err(),
            }
        }
        at += 1;
    }
}
