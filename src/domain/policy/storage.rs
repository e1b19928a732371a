//! Changing how much storage is declared for a service or mount (R10): what there is must fit.

use super::{Refusal, Verdict};
use crate::domain::{Bytes, PartName};

/// Whether a part that uses so much may be declared with another size. `used`: `None` when it can't be measured.
///
/// # Errors
/// The refusal to show.
pub fn may_declare(part: &PartName, declared: Option<Bytes>, wanted: Bytes, used: Option<Bytes>) -> Verdict {
    let name = part.in_words();
    if declared == Some(wanted) {
        return Err(Refusal::new(format!("The {name} is declared with {wanted} already.")));
    }
    if wanted.0 == 0 {
        return Err(
            Refusal::new(format!("The {name} can't be declared with nothing.")).instead("Name a size, as 20 GiB.")
        );
    }
    match used {
        Some(used) if used > wanted => {
            Err(Refusal::new(format!("The {name} uses {used}, which does not fit into {wanted}."))
                .instead("Make room first, or name a larger size."))
        }
        Some(_) => Ok(()),
        // What can't be measured may grow.
        None if declared.is_some_and(|declared| wanted > declared) => Ok(()),
        None => Err(Refusal::new(format!("How much the {name} uses can't be measured now."))
            .instead("Look why it can't be reached; only a larger size than is declared can be set until then.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn asked(declared: Option<u64>, wanted: u64, used: Option<u64>) -> String {
        let part: PartName = "mount:uploads".parse().expect("a part");
        let verdict = may_declare(&part, declared.map(Bytes), Bytes(wanted), used.map(Bytes));
        verdict.map_or_else(|refusal| refusal.to_string(), |()| "yes".to_owned())
    }

    #[test]
    fn a_part_grows_freely_and_shrinks_to_what_it_uses() {
        assert_eq!(asked(None, GIB, Some(5)), "yes");
        assert_eq!(asked(Some(GIB), 2 * GIB, Some(GIB)), "yes");
        assert_eq!(asked(Some(4 * GIB), 2 * GIB, Some(GIB)), "yes");
        assert_eq!(asked(Some(4 * GIB), GIB, Some(GIB)), "yes", "it just fits");
    }

    #[test]
    fn a_part_does_not_shrink_below_what_it_uses() {
        let refused = "The mount uploads uses 3.0 GiB, which does not fit into 2.0 GiB. Make room first, or name a larger \
                       size.";
        assert_eq!(asked(Some(4 * GIB), 2 * GIB, Some(3 * GIB)), refused);
        assert_eq!(asked(None, 2 * GIB, Some(3 * GIB)), refused);
        assert_eq!(asked(Some(GIB), 2 * GIB, Some(3 * GIB)), refused, "it grows, and would still be too small");
    }

    #[test]
    fn what_can_not_be_measured_only_grows() {
        assert_eq!(asked(Some(GIB), 2 * GIB, None), "yes");
        assert!(asked(Some(2 * GIB), GIB, None).starts_with("How much the mount uploads uses can't be measured"));
        assert!(asked(None, GIB, None).contains("can't be measured"));
    }

    #[test]
    fn nothing_changes_to_what_it_is_or_to_nothing() {
        assert_eq!(asked(Some(GIB), GIB, Some(0)), "The mount uploads is declared with 1.0 GiB already.");
        assert!(asked(Some(GIB), 0, Some(0)).starts_with("The mount uploads can't be declared with nothing."));
    }
}
