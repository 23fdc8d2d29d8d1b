//! Bodies of strangers: they do not take the room of signed deliveries.

use pregon_testkit::{Node, postgres};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{post, start, text};
use crate::support::SOON;

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
    // The last one came when the quarter of its address was full.
    let mut seen = Vec::new();
    let mut last = strangers.pop().unwrap();
    let _ = tokio::time::timeout(SOON, last.read_to_end(&mut seen)).await;
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.is_empty() || seen.contains("503"), "{seen}");
}
