//! `eventually`: poll a condition with a short, growing pause until it holds or the time is up.

use std::{fmt::Display, future::Future, time::Duration};

use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Long enough not to load a two-core machine, short enough not to be noticed in a test.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What a polled closure may answer: `bool`, `Option<T>` or `Result<T, E>`.
pub trait Condition {
    /// What `eventually` returns once the condition holds.
    type Value;
    /// The value, or what was seen instead of it.
    fn settle(self) -> Result<Self::Value, String>;
}

impl Condition for bool {
    type Value = ();
    fn settle(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".to_owned()) }
    }
}

impl<T> Condition for Option<T> {
    type Value = T;
    fn settle(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Display> Condition for Result<T, E> {
    type Value = T;
    fn settle(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:#}"))
    }
}

/// Polls `check` until it holds; the error says what was last seen.
pub async fn eventually<C, F, Fut>(timeout: Duration, mut check: F) -> anyhow::Result<C::Value>
where
    C: Condition,
    F: FnMut() -> Fut,
    Fut: Future<Output = C>,
{
    let deadline = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    let mut last = "no answer yet".to_owned();
    loop {
        match tokio::time::timeout_at(deadline, check())
            .await
            .map(Condition::settle)
        {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last = seen,
            Err(_) => {}
        }
        if Instant::now() + pause >= deadline {
            anyhow::bail!("not within {timeout:?}; last seen: {last}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn returns_the_value_when_it_comes() {
        let tries = Cell::new(0);
        let value = eventually(Duration::from_secs(5), || async {
            tries.set(tries.get() + 1);
            (tries.get() == 3).then(|| tries.get())
        });
        assert_eq!(value.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn says_what_was_last_seen() {
        let failed = eventually(Duration::from_millis(20), || async {
            Err::<(), _>("four of five rows")
        });
        assert!(
            failed
                .await
                .unwrap_err()
                .to_string()
                .contains("four of five rows")
        );
    }

    #[tokio::test]
    async fn a_check_that_hangs_is_cut_off() {
        let hanging = eventually(Duration::from_millis(20), std::future::pending::<bool>);
        assert!(hanging.await.unwrap_err().to_string().contains("no answer yet"));
    }
}
