//! Webhooks of the WhatsApp Cloud API, taken apart: every entry, change, message, status and error becomes an item. No I/O.
//!
//! Nothing is dropped: what is of no known kind is an [`Item::Event`] with the raw JSON, and a body that is no JSON at all is
//! [`Item::Unreadable`]. Nothing here fails, whatever the body is.

mod item;
mod mend;
mod message;
mod read;

pub use item::{Alias, Item, Message, Other, Sender, Status};
pub use read::{Read, read};

#[cfg(test)]
mod tests;
