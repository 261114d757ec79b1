//! The earlier of two times is the one that counts.

use std::time::Duration;

use super::{Again, LONGEST};

#[test]
fn the_next_pass_is_when_the_first_of_them_is_due() {
    let (soon, late) = (Again::After(Duration::from_secs(1)), Again::After(Duration::from_secs(2)));
    assert_eq!(soon.and(late), soon);
    assert_eq!(late.and(soon), soon);
    assert_eq!(Again::OnChange.and(late), late);
    assert_eq!(late.and(Again::OnChange), late);
    assert_eq!(Again::OnChange.and(Again::OnChange), Again::OnChange);
    assert_eq!(Again::After(Duration::MAX).wait(), LONGEST, "clocks are not relied on for longer");
}
