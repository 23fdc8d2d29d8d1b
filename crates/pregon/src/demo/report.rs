//! The marketplace's reports, where there is no Node for its report service. This is no GraphQL: the page's three queries are known by
//! their names, and answered whole by the same SQL that the service asks (page.sql of the example).

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::page::Demo;

const EXAMPLE: &str = "marketplace";

/// What Apollo sends, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Question {
    #[serde(rename = "operationName")]
    name: String,
}

/// What answers a question: the field of the answer, and a query with the seller's number where it has one.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    field: &'static str,
    sql: &'static str,
    seller: Option<i32>,
}

/// Each role has the reports that the service would give it.
fn report_of(question: &str, role: &str) -> Option<Report> {
    let seller = role.strip_prefix("seller-").and_then(|id| id.parse().ok());
    let report = |field, sql, seller| Some(Report { field, sql, seller });
    match question {
        "Shop" => report("shop", "SELECT report_shop()", None),
        "SellerReport" if seller.is_some() => report("sellerReport", "SELECT report_seller($1)", seller),
        "AdminReport" if role == "admin" => report("adminReport", "SELECT report_admin()", None),
        _ => None,
    }
}

pub(super) async fn answer(State(demo): State<Demo>, headers: HeaderMap, body: Bytes) -> Response {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = bearer
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    let facts = demo.facts.iter().find(|facts| facts.name == EXAMPLE);
    let Some(role) = facts.and_then(|facts| facts.role_of(token)) else {
        return refused(
            StatusCode::UNAUTHORIZED,
            "send one of the demo's tokens: Authorization: Bearer …",
        );
    };
    let Ok(question) = serde_json::from_slice::<Question>(&body) else {
        return refused(
            StatusCode::BAD_REQUEST,
            "the demo answers queries with an `operationName`",
        );
    };
    let Some(report) = report_of(&question.name, role) else {
        return refused(
            StatusCode::OK,
            "this role has no such report, or the demo does not know the query",
        );
    };
    match ask(&demo, &report).await {
        Ok(data) => Json(json!({ "data": { report.field: data } })).into_response(),
        Err(error) => refused(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")),
    }
}

async fn ask(demo: &Demo, report: &Report) -> anyhow::Result<Value> {
    let client = pregon_testkit::postgres::connect(demo.traffic.database(EXAMPLE)?).await?;
    let row = match &report.seller {
        Some(seller) => client.query_one(report.sql, &[seller]).await?,
        None => client.query_one(report.sql, &[]).await?,
    };
    Ok(row.try_get(0)?)
}

fn refused(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "errors": [{ "message": message }] }))).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_role_gets_its_own_reports_only() {
        assert_eq!(report_of("SellerReport", "seller-7").unwrap().seller, Some(7));
        assert!(report_of("AdminReport", "admin").is_some());
        assert!(report_of("Shop", "customer").is_some());
        for (question, role) in [
            ("AdminReport", "seller-7"),
            ("SellerReport", "admin"),
            ("SellerReport", "customer"),
            ("Nada", "admin"),
        ] {
            assert_eq!(report_of(question, role), None, "{question} {role}");
        }
    }
}
