//! The page itself: files that were built of `dashboard/` and are part of the binary. They hold nothing secret, so they ask for no token.

use axum::Router;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http::header;

/// Only what this origin serves, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
struct File {
    path: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

static FILES: [File; 4] = [
    File {
        path: "/admin/",
        kind: "text/html; charset=utf-8",
        content: include_bytes!("../../../../dashboard/dist/index.html"),
    },
    File {
        path: "/admin/app.js",
        kind: "text/javascript; charset=utf-8",
        content: include_bytes!("../../../../dashboard/dist/app.js"),
    },
    File {
        path: "/admin/app.css",
        kind: "text/css; charset=utf-8",
        content: include_bytes!("../../../../dashboard/dist/app.css"),
    },
    File {
        path: "/admin/icon.svg",
        kind: "image/svg+xml",
        content: include_bytes!("../../../../dashboard/dist/icon.svg"),
    },
];

/// Where the files are served.
pub(super) fn routes() -> Router {
    let mut router = Router::new().route("/admin", get(|| async { Redirect::permanent("/admin/") }));
    for file in &FILES {
        router = router.route(file.path, get(move || async move { serve(file) }));
    }
    router
}

fn serve(file: &'static File) -> Response {
    let headers = [
        (header::CONTENT_TYPE, file.kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // The next version of the binary has others of the same name.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, file.content).into_response()
}
