//! A form that is sent twice (double click, reload, a nervous proxy) acts once: its second sending waits for the first
//! and gets the same answer.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::flash::Flash;
use crate::domain::UserId;

/// Where an action leads, and what is said there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Path on this site, made of ids only.
    pub location: String,
    pub flash: Option<Flash>,
}

impl Outcome {
    pub fn at(location: impl Into<String>) -> Self {
        Self { location: location.into(), flash: None }
    }

    pub fn saying(location: impl Into<String>, text: impl Into<String>) -> Self {
        Self { location: location.into(), flash: Some(Flash::Done { text: text.into() }) }
    }
}

/// Forms remembered by this process; older ones are forgotten. One process is enough: a double click arrives within a
/// second, over one connection.
const REMEMBERED: usize = 1_024;

type Cell = Arc<OnceCell<Outcome>>;

/// One sending of a form: who sent it, and the number that its page was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sending {
    user: UserId,
    form: String,
}

#[derive(Debug, Clone, Default)]
pub struct Once {
    sendings: Arc<Mutex<VecDeque<(Sending, Cell)>>>,
}

impl Once {
    /// Runs `work` for the first sending of the form. What failed is not remembered: it may be tried again.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn run<E>(
        &self,
        user: &UserId,
        form: &str,
        work: impl Future<Output = Result<Outcome, E>>,
    ) -> Result<Outcome, E> {
        let cell = self.cell(Sending { user: user.clone(), form: form.to_owned() });
        cell.get_or_try_init(|| work).await.cloned()
    }

    fn cell(&self, sending: Sending) -> Cell {
        let mut sendings = self.sendings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = sendings.iter().find(|(known, _)| *known == sending) {
            return cell.clone();
        }
        if sendings.len() == REMEMBERED {
            sendings.pop_front();
        }
        let cell = Cell::default();
        sendings.push_back((sending, cell.clone()));
        cell
    }
}

/// A number for a page's form.
pub fn form_number() -> String {
    hex::encode(rand::random::<[u8; 12]>())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn user(digit: char) -> UserId {
        UserId::parse(digit.to_string().repeat(20)).expect("a valid id")
    }

    #[tokio::test]
    async fn two_sendings_of_a_form_act_once() {
        let (once, acted) = (Once::default(), AtomicU32::new(0));
        let send = async |who: char, form: &str| {
            let work = async {
                let number = acted.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok::<_, ()>(Outcome::at(format!("/{number}")))
            };
            once.run(&user(who), form, work).await.expect("it works")
        };
        let (first, second) = tokio::join!(send('a', "1"), send('a', "1"));
        assert_eq!(first, second);
        assert_eq!(acted.load(Ordering::SeqCst), 1);
        assert_ne!(send('a', "2").await, first, "another form");
        assert_ne!(send('b', "1").await, first, "another person");
    }

    #[tokio::test]
    async fn what_failed_may_be_tried_again() {
        let once = Once::default();
        let failed = once.run(&user('a'), "1", async { Err::<Outcome, _>("no") }).await;
        assert_eq!(failed, Err("no"));
        let worked = once.run(&user('a'), "1", async { Ok::<_, &str>(Outcome::at("/")) }).await;
        assert_eq!(worked, Ok(Outcome::at("/")));
    }
}
