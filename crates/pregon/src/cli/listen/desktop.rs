//! Desktop notifications by D-Bus. A desktop that is not there is a warning: the event was printed all the same.

use notify_rust::Notification;

/// Shows notifications; asks the server once what it can do.
#[derive(Debug, Default)]
pub(super) struct Desktop {
    /// Whether texts are read as markup; unknown until a server answered.
    markup: Option<bool>,
}

impl Desktop {
    /// Shows one notification and waits until the server has taken it.
    pub(super) async fn show(&mut self, title: String, text: String) {
        let known = self.markup;
        // The D-Bus library brings its own way of waiting, so it gets a thread of its own.
        let shown = tokio::task::spawn_blocking(move || {
            let markup = match known {
                Some(markup) => markup,
                None => notify_rust::get_capabilities()?
                    .iter()
                    .any(|ability| ability == "body-markup"),
            };
            let text = if markup { escape(&text) } else { text };
            Notification::new()
                .appname("pregon")
                .summary(&title)
                .body(&text)
                .show()?;
            Ok::<_, notify_rust::error::Error>(markup)
        });
        match shown.await {
            Ok(Ok(markup)) => self.markup = Some(markup),
            Ok(Err(error)) => {
                tracing::warn!(%error, "no desktop notification could be shown; is a desktop running here?")
            }
            Err(error) => tracing::warn!(%error, "no desktop notification could be shown"),
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_is_no_markup() {
        assert_eq!(
            super::escape("<b>Ana & Co</b>"),
            "&lt;b&gt;Ana &amp; Co&lt;/b&gt;"
        );
    }
}
