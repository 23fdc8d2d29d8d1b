//! The inbox: somebody writes, and the text is stored encrypted, as the application would.

use super::{Act, Ask, Deed, Sql, any_text};

pub(in crate::demo) const DEEDS: &[Deed] = &[
    Deed {
        kind: "mensaje",
        acts: message,
    },
    Deed {
        kind: "conversacion",
        acts: conversation,
    },
];

/// As many as the demo's inbox has at first.
const CONVERSATIONS: u32 = 5;

const MESSAGE: &str =
    "INSERT INTO messages (conversation_id, sender, message) VALUES ($1, $2, $3) RETURNING id::text";
const CONVERSATION: &str = "INSERT INTO conversations (user_id) VALUES ($1) RETURNING id::text";

/// `conversation_id`, `sender` (`user` or `agent`) and `message`; what is not said is chosen.
fn message(ask: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    let conversation = ask.text("conversation_id")?;
    let conversation = conversation.unwrap_or_else(|| rand::random_range(1..=CONVERSATIONS).to_string());
    let sender = ask.text("sender")?.unwrap_or_else(|| "user".to_owned());
    let text = ask.text("message")?.unwrap_or_else(any_text);
    let sealed = ask.key.encrypt(&text)?;
    insert(
        MESSAGE,
        vec![Some(conversation), Some(sender), Some(sealed)],
        false,
    )
}

/// A conversation of `user_id` in which nothing was said yet. The page knows messages by their keys, and this is none.
fn conversation(ask: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    let owner = ask.text("user_id")?.unwrap_or_else(|| "7".to_owned());
    insert(CONVERSATION, vec![Some(owner)], true)
}

fn insert(text: &'static str, values: Vec<Option<String>>, quiet: bool) -> anyhow::Result<Vec<Act>> {
    Ok(vec![Act::Sql(Sql { text, values, quiet })])
}
