use std::cell::RefCell;

use super::*;

/// A systemd that notes what it is told. `effect` is what a command brings about, and whether it succeeds.
pub(in crate::membership) struct FakeUnits<'a> {
    pub(in crate::membership) state: RefCell<State>,
    pub(in crate::membership) told: RefCell<Vec<String>>,
    pub(in crate::membership) effect: Box<dyn Fn(&str) -> bool + 'a>,
}

impl<'a> FakeUnits<'a> {
    /// With a unit that runs.
    pub(in crate::membership) fn new(effect: impl Fn(&str) -> bool + 'a) -> Self {
        let state = State { loaded: true, active: "active".to_owned(), restarts: 0 };
        Self { state: state.into(), told: RefCell::default(), effect: Box::new(effect) }
    }
}

impl Units for FakeUnits<'_> {
    async fn state(&self, _: &str) -> Result<State, UnitError> {
        Ok(self.state.borrow().clone())
    }

    async fn act(&self, action: &str, unit: &str) -> Result<(), UnitError> {
        let line = format!("{action} {unit}");
        self.told.borrow_mut().push(line.clone());
        if (self.effect)(&line) { Ok(()) } else { Err(UnitError::Failed { line, said: "no".to_owned() }) }
    }

    async fn last_words(&self, _: &str) -> String {
        "its last words".to_owned()
    }
}

#[test]
fn what_systemctl_shows_is_read() {
    let shown = "NRestarts=3\nLoadState=loaded\nActiveState=activating\n";
    let state = State { loaded: true, active: "activating".to_owned(), restarts: 3 };
    assert_eq!(parse(shown), state);
    assert!(!parse("LoadState=not-found\nActiveState=inactive\n").loaded);
}
