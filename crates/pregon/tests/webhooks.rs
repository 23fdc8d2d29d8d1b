//! `[[webhook]]`: signed deliveries of other services reach those whom a route names, once.

use aws_lc_rs::hmac;
use pregon_testkit::{Node, http};
use serde_json::{Value, json};

use crate::support::{SOON, connect, options};

const CONFIG: &str = r#"
[auth]
secret = "una-clave-solo-para-las-pruebas"
[[webhook]]
name = "pagos"
path = "/hooks/stripe"
preset = "stripe"
secret_env = "STRIPE_SECRET"
[[webhook]]
name = "codigo"
path = "/hooks/github"
preset = "github"
secret = "viejo, nuevo"
body = "1KiB"
[[route]]
from = "pagos"
when = "message.type.startsWith('invoice.')"
to = "facturas"
event = "{type}"
payload = { id = "message.data.object.id" }
[[route]]
from = "codigo"
to = "repo"
[[channel]]
name = "facturas"
[[channel]]
name = "repo"
"#;

fn sign(secret: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hex::encode(hmac::sign(&key, text.as_bytes()))
}

async fn stripe(node: &Node, body: &str) -> u16 {
    let at = crate::support::in_seconds(0);
    let signature = format!("t={at},v1={}", sign("whsec_1", &format!("{at}.{body}")));
    let headers = [("stripe-signature", signature.as_str())];
    let url = node.url("/hooks/stripe");
    let answer = http::request("POST", &url, &headers, body.as_bytes());
    answer.await.unwrap().status()
}

#[tokio::test]
async fn a_delivery_is_verified_routed_and_published_once() {
    let node = Node::spawn(options(CONFIG).env("STRIPE_SECRET", "whsec_1"))
        .await
        .unwrap();
    let mut client = connect(&node, &json!({"sub": 1})).await;
    client.subscribe("facturas").await.unwrap();
    let paid = |id: &str| {
        json!({"id": id, "type": "invoice.paid", "data": {"object": {"id": format!("in_{id}")}}}).to_string()
    };
    assert_eq!(stripe(&node, &paid("evt_1")).await, 200);
    assert_eq!(stripe(&node, &paid("evt_1")).await, 200);
    assert_eq!(
        stripe(&node, r#"{"id":"evt_x","type":"charge.failed"}"#).await,
        200
    );
    assert_eq!(stripe(&node, "no json").await, 200);
    assert_eq!(stripe(&node, &paid("evt_2")).await, 200);
    for id in ["evt_1", "evt_2"] {
        let event: Value = client.next_of_type("event", SOON).await.unwrap();
        assert_eq!(
            (&event["event"], &event["data"]),
            (&json!("invoice.paid"), &json!({"id": format!("in_{id}")}))
        );
    }
    let unsigned = http::request("POST", &node.url("/hooks/stripe"), &[], b"{}")
        .await
        .unwrap();
    assert_eq!(unsigned.status(), 401);
}

#[tokio::test]
async fn each_secret_is_believed_and_large_bodies_are_refused() {
    let node = Node::spawn(options(CONFIG).env("STRIPE_SECRET", "whsec_1"))
        .await
        .unwrap();
    let mut client = connect(&node, &json!({"sub": 1})).await;
    client.subscribe("repo").await.unwrap();
    let post = async |secret: &str, body: &str| {
        let signature = format!("sha256={}", sign(secret, body));
        let headers = [
            ("x-hub-signature-256", signature.as_str()),
            ("x-github-event", "push"),
            ("x-github-delivery", secret),
        ];
        let url = node.url("/hooks/github");
        let answer = http::request("POST", &url, &headers, body.as_bytes());
        answer.await.unwrap().status()
    };
    assert_eq!(post("otro", r#"{"n":0}"#).await, 401);
    assert_eq!(post("viejo", r#"{"n":1}"#).await, 200);
    assert_eq!(post("nuevo", &" ".repeat(1025)).await, 413);
    assert_eq!(post("nuevo", r#"{"n":2}"#).await, 200);
    for n in [1, 2] {
        let event = client.next_of_type("event", SOON).await.unwrap();
        assert_eq!(event["data"], json!({"n": n}));
    }
}
