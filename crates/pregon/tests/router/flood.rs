//! Bodies of strangers: they do not take the room of signed deliveries.

use std::time::Duration;

use futures_util::future::join_all;
use pregon_testkit::{Node, postgres};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{post, start, text};
use crate::support::SOON;

/// How long the router waits for a body.
const BODY: Duration = Duration::from_secs(10);

/// A body that never comes to its end, of somebody who knows no secret.
async fn unfinished(router: &Node) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut stream = socket.connect(router.address().parse().unwrap()).await.unwrap();
    let head = "POST /webhook HTTP/1.1\r\nhost: x\r\nx-hub-signature-256: sha256=00\r\ncontent-length: 4000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // Refused meanwhile, it may be reset.
    let _ = stream.write_all(&vec![b'x'; 3_900_000]).await;
    stream
}

#[tokio::test]
async fn unsigned_bodies_leave_room_to_signed_ones() {
    let (_database, router) = start(postgres::shared().await).await;
    let mut strangers = Vec::new();
    for _ in 0..12 {
        strangers.push(unfinished(&router).await);
    }
    for n in 0..20 {
        let body = text("1", &format!("wamid.{n}"), "hola").to_string();
        assert_eq!(post(&router, body.as_bytes()).await.unwrap().status(), 200, "{n}");
    }
    // One address has room for three such bodies. The others are refused, and some are reset before they read the answer; which of
    // them the room takes depends on whom the router reads first.
    let answers = join_all(strangers.into_iter().map(answer)).await;
    let refused = answers.iter().filter(|answer| !answer.contains("408")).count();
    assert!(refused > 0, "{answers:?}");
    assert!(
        answers.iter().all(|answer| !answer.contains("200 OK")),
        "{answers:?}"
    );
}

/// What the router says to `stream` until it closes it: nothing if it is reset.
async fn answer(mut stream: TcpStream) -> String {
    let mut seen = Vec::new();
    let _ = timeout(BODY + SOON, stream.read_to_end(&mut seen))
        .await
        .expect("the router ends each of them");
    String::from_utf8_lossy(&seen).into_owned()
}
