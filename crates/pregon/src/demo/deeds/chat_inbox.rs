//! The inbox: somebody writes, and the text is stored encrypted, as the application would.

use super::{Act, Ask, Deed, Sql, any_text};

pub(in crate::demo) const DEEDS: &[Deed] = &[Deed {
    kind: "mensaje",
    acts: message,
}];

/// As many as the demo's inbox has.
const CONVERSATIONS: u32 = 3;

const MESSAGE: &str =
    "INSERT INTO messages (conversation_id, sender, message) VALUES ($1, $2, $3) RETURNING id::text";

fn message(ask: &Ask<'_>) -> anyhow::Result<Vec<Act>> {
    let conversation = ask.text("conversation_id")?;
    let conversation = conversation.unwrap_or_else(|| rand::random_range(1..=CONVERSATIONS).to_string());
    let sender = ask.text("sender")?.unwrap_or_else(|| "user".to_owned());
    let text = ask.text("message")?.unwrap_or_else(any_text);
    let sealed = ask.key.encrypt(&text)?;
    Ok(vec![Act::Sql(Sql {
        text: MESSAGE,
        values: vec![Some(conversation), Some(sender), Some(sealed)],
        quiet: false,
    })])
}
