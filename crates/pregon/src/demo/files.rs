//! The built pages of the examples, which the binary carries. `npm --prefix examples run build` makes them and their list.

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// Path and content.
static FILES: &[(&str, &[u8])] = include!("../../../../examples/dist/files.rs");

/// Names under here carry a hash of what they hold.
const HASHED: &str = "assets/";

/// A file by its path; a folder is its index.html.
pub(super) async fn serve(uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    let Some((name, content)) = find(path) else {
        // `/turnstile` is meant as `/turnstile/`, from where the page's own links work.
        return match find(&format!("{path}/")) {
            Some(_) => axum::response::Redirect::permanent(&format!("/{path}/")).into_response(),
            None => (StatusCode::NOT_FOUND, "there is no such page in the demo\n").into_response(),
        };
    };
    let cache = if name.starts_with(HASHED) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let headers = [
        (header::CONTENT_TYPE, kind(name)),
        (header::CACHE_CONTROL, cache),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, content).into_response()
}

fn find(path: &str) -> Option<(&'static str, &'static [u8])> {
    let index = if path.is_empty() || path.ends_with('/') {
        "index.html"
    } else {
        ""
    };
    let wanted = format!("{path}{index}");
    FILES.iter().find(|(name, _)| *name == wanted).copied()
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_page_has_what_it_loads() {
        let pages = FILES.iter().filter(|(name, _)| name.ends_with(".html"));
        for (page, content) in pages {
            let html = std::str::from_utf8(content).unwrap();
            let loaded = html.split('"').filter(|part| part.starts_with('/'));
            for path in loaded {
                assert!(
                    find(path.trim_start_matches('/')).is_some(),
                    "{page} loads {path}"
                );
            }
        }
        assert!(find("").is_some() && find("turnstile/").is_some() && find("turnstile").is_none());
    }
}
