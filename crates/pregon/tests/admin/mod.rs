//! The dashboard and its API at `/admin`: who may see it, what it says, what it does.

mod door;
mod explain;
mod numbers;
mod revoke;
mod tail;

use pregon_testkit::{Node, http};
use serde_json::Value;

use crate::support::{PLAIN, options};

const TOKEN: &str = "un-token-de-operador";

/// A webhook, which needs no database to be a source; its rule may go on.
const HOOK: &str = r#"
[[webhook]]
name = "pedidos"
path = "/hooks/pedidos"
secret = "secreto-de-pedidos"
[[route]]
from = "pedidos"
when = "message.total > 100"
to = "room_{room}"
"#;

/// A node with a dashboard.
async fn node_with(more: &str) -> Node {
    let options = options(&format!("{PLAIN}{more}")).env("PREGON_ADMIN_TOKEN", TOKEN);
    Node::spawn(options).await.unwrap()
}

fn bearer() -> (&'static str, String) {
    ("authorization", format!("Bearer {TOKEN}"))
}

async fn ask(node: &Node, path: &str) -> (u16, Value) {
    let (name, value) = bearer();
    let url = node.url(&format!("/admin/api/{path}"));
    let answer = http::request("GET", &url, &[(name, &value)], b"").await.unwrap();
    (answer.status(), answer.json().unwrap())
}

async fn get(node: &Node, path: &str) -> Value {
    let (status, answer) = ask(node, path).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

async fn post(node: &Node, path: &str, body: &Value) -> (u16, Value) {
    let (name, value) = bearer();
    let url = node.url(&format!("/admin/api/{path}"));
    let answer = http::post_json(&url, &[(name, &value)], body).await.unwrap();
    (answer.status(), answer.json().unwrap())
}
