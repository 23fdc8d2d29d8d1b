//! Delivers one event: prints it, shows it, runs the command. What the source may save afterwards depends on the answer.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::desktop::Desktop;
use super::event::{Format, Heard};
use super::retry::Retry;
use crate::cli::output;
use crate::route::Template;

/// How long a command may go on after we were told to stop.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Without a state a failure is forgotten with the process, so a command that always fails must not hold up what follows.
const TRIES: u32 = 3;

/// Pauses before a failed command runs again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivered {
    /// It may be remembered as seen.
    Done,
    /// We were told to stop before the command had succeeded: it must come again.
    Stopped,
}

/// Everything that is done with an event.
#[derive(Debug)]
pub(super) struct Delivery {
    format: Format,
    exec: Option<String>,
    desktop: Option<(Template, Desktop)>,
    patient: bool,
    stop: CancellationToken,
}

impl Delivery {
    /// `title` turns desktop notifications on; `patient` means that a state is kept, so that nothing may be skipped.
    pub(super) fn new(
        format: Format,
        exec: Option<String>,
        title: Option<Template>,
        patient: bool,
        stop: CancellationToken,
    ) -> Self {
        Self {
            format,
            exec,
            desktop: title.map(|title| (title, Desktop::default())),
            patient,
            stop,
        }
    }

    /// Whether each event has an effect that should be remembered before the next one begins.
    pub(super) fn has_effects(&self) -> bool {
        self.exec.is_some() || self.desktop.is_some()
    }

    /// Delivers; an error means that nobody reads what we print.
    pub(super) async fn deliver(&mut self, heard: &Heard) -> anyhow::Result<Delivered> {
        output::line(self.format.line(heard))?;
        if let Some((title, desktop)) = &mut self.desktop {
            desktop.show(heard.fill(title), self.format.text(heard)).await;
        }
        match &self.exec {
            Some(command) => Ok(self.execute(command, heard).await),
            None => Ok(Delivered::Done),
        }
    }

    async fn execute(&self, command: &str, heard: &Heard) -> Delivered {
        let mut retry = Retry::new(PAUSE.0, PAUSE.1);
        for attempt in 1_u32.. {
            match self.attempt(command, heard).await {
                Ok(Some(status)) if status.success() => return Delivered::Done,
                Ok(Some(status)) => {
                    tracing::error!(%status, attempt, channel = &*heard.channel, "the command failed")
                }
                Ok(None) => return Delivered::Stopped,
                Err(error) => tracing::error!(%error, attempt, "the command could not be run"),
            }
            if !self.patient && attempt >= TRIES {
                tracing::error!(
                    attempt,
                    channel = &*heard.channel,
                    "the command is given up for this event"
                );
                return Delivered::Done;
            }
            if !retry.pause(&self.stop).await {
                break;
            }
        }
        Delivered::Stopped
    }

    /// Runs the command once; `None` when it was still running after the grace that a stop gives.
    async fn attempt(&self, command: &str, heard: &Heard) -> std::io::Result<Option<ExitStatus>> {
        let mut child = Command::new("sh")
            .args(["-c", command])
            .env("PREGON_CHANNEL", &*heard.channel)
            .env("PREGON_EVENT", &*heard.name)
            .env("PREGON_REPLAYED", if heard.replayed { "1" } else { "0" })
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        tokio::select! {
            status = feed(&mut child, &heard.payload) => status.map(Some),
            () = self.past_grace() => Ok(None),
        }
    }

    async fn past_grace(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }
}

async fn feed(child: &mut Child, payload: &[u8]) -> std::io::Result<ExitStatus> {
    let input = child.stdin.take();
    let write = async {
        if let Some(mut input) = input {
            // A command that does not read its input is no failure.
            let _ = input.write_all(payload).await;
        }
    };
    let ((), status) = tokio::join!(write, child.wait());
    status
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::SystemTime;

    use super::*;

    fn heard() -> Heard {
        Heard {
            channel: "c".into(),
            name: "e".into(),
            payload: bytes::Bytes::from_static(b"{\"a\":1}"),
            replayed: false,
            at: SystemTime::now(),
        }
    }

    fn delivery(exec: &str, patient: bool, stop: &CancellationToken) -> Delivery {
        Delivery::new(Format::Json, Some(exec.into()), None, patient, stop.clone())
    }

    #[tokio::test]
    async fn a_command_gets_payload_and_names_and_runs_again_until_it_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let command = format!(
            "echo $PREGON_CHANNEL $PREGON_EVENT $(cat) >> {0}; [ $(wc -l < {0}) -ge 2 ]",
            out.display()
        );
        let command = delivery(&command, true, &CancellationToken::new());
        assert_eq!(
            command.execute(command.exec.as_ref().unwrap(), &heard()).await,
            Delivered::Done
        );
        assert_eq!(
            std::fs::read_to_string(out).unwrap(),
            "c e {\"a\":1}\nc e {\"a\":1}\n"
        );
    }

    #[tokio::test]
    async fn a_stop_leaves_a_failing_command_undelivered() {
        let stop = CancellationToken::new();
        let failing = delivery("exit 3", true, &stop);
        let event = heard();
        let (delivered, ()) = tokio::join!(failing.execute("exit 3", &event), async {
            tokio::task::yield_now().await;
            stop.cancel();
        });
        assert_eq!(delivered, Delivered::Stopped);
    }

    #[tokio::test]
    async fn a_command_need_not_read_its_input() {
        let deaf = delivery("true", true, &CancellationToken::new());
        let large = Heard {
            payload: vec![b'x'; 1_000_000].into(),
            ..heard()
        };
        assert_eq!(deaf.execute("true", &large).await, Delivered::Done);
    }
}
