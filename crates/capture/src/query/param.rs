//! A parameter sent as text, whatever its type: the server converts it, as if it had been typed into psql.

use std::error::Error;

use bytes::BytesMut;
use serde_json::Value;
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type};

/// A JSON value as a query parameter.
#[derive(Debug, Clone)]
pub(crate) struct Param<'a>(pub(crate) &'a Value);

/// Text as a query parameter of any type.
#[derive(Debug, Clone)]
pub struct TextParam<'a>(pub Option<&'a str>);

impl ToSql for Param<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let text = match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            value if is_json(ty) => value.to_string(),
            Value::String(text) => text.clone(),
            Value::Array(items) if matches!(ty.kind(), Kind::Array(_)) => array_literal(items),
            value => value.to_string(),
        };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    tokio_postgres::types::to_sql_checked!();
}

impl ToSql for TextParam<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(text) = self.0 else {
            return Ok(IsNull::Yes);
        };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    tokio_postgres::types::to_sql_checked!();
}

fn is_json(ty: &Type) -> bool {
    *ty == Type::JSON || *ty == Type::JSONB
}

/// `[1,null,"a\"b"]` becomes `{"1",NULL,"a\"b"}`.
fn array_literal(items: &[Value]) -> String {
    let mut text = String::from("{");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match item {
            Value::Null => text.push_str("NULL"),
            Value::Array(inner) => text.push_str(&array_literal(inner)),
            Value::String(inner) => push_element(&mut text, inner),
            other => push_element(&mut text, &other.to_string()),
        }
    }
    text.push('}');
    text
}

fn push_element(text: &mut String, element: &str) {
    text.push('"');
    for c in element.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
}
