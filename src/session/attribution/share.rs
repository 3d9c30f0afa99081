//! Whose conversation is whose, where several sessions had one home at the same time.

use super::super::asked::Fit;

/// What is known of one conversation, for each session: the one that asks is the first.
#[derive(Clone, Debug)]
pub struct Known {
    /// By the times of both, it can be that session's.
    pub may: Vec<bool>,
    /// How well it fits what that session was asked.
    pub fits: Vec<Fit>,
}

/// What the session that asks takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Own,
    /// Another session's.
    Theirs,
    /// Its own, or that of one of these.
    Shared(Vec<usize>),
}

/// What one conversation tells by itself.
enum Alone {
    Of(usize),
    /// What it says fits these equally well, or not at all.
    Open(Vec<usize>),
}

/// Divides conversations. What only one session can have written is its own, and what fits one better than all others; what fits
/// several alike, or nobody, is not of another one that has its own.
pub fn divide(known: &[Known]) -> Vec<Verdict> {
    let alone: Vec<Alone> = known.iter().map(look).collect();
    let has_own = |side: usize| alone.iter().any(|one| matches!(one, Alone::Of(owner) if *owner == side));
    let verdict = |one: &Alone| match one {
        Alone::Of(0) => Verdict::Own,
        Alone::Of(_) => Verdict::Theirs,
        Alone::Open(sides) => {
            // Whoever asks keeps what may be its own: of the others, not everything is known.
            let without = sides.iter().copied().filter(|side| *side == 0 || !has_own(*side));
            let without: Vec<usize> = without.collect();
            match without[..] {
                [0] if has_own(0) => among(sides),
                _ => among(&without),
            }
        }
    };
    alone.iter().map(verdict).collect()
}

fn look(one: &Known) -> Alone {
    let sides: Vec<usize> = (0..one.may.len()).filter(|side| one.may[*side]).collect();
    if let [only] = sides[..] {
        return Alone::Of(only);
    }
    let best = sides.iter().map(|side| one.fits[*side]).max().unwrap_or_default();
    // What nobody knows may be as good as a part.
    let is_as_good = |fit: Fit| fit == best || best != Fit::Whole && fit == Fit::Unknown;
    // And no better than what does not fit.
    let is_open = best == Fit::Unknown;
    let fitting: Vec<usize> =
        sides.into_iter().filter(|side| is_open || is_as_good(one.fits[*side])).collect();
    if let [only] = fitting[..] { Alone::Of(only) } else { Alone::Open(fitting) }
}

fn among(sides: &[usize]) -> Verdict {
    match sides {
        [0] => Verdict::Own,
        _ if sides.contains(&0) => Verdict::Shared(sides.iter().copied().filter(|side| *side != 0).collect()),
        _ => Verdict::Theirs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Fit::{Not, Part, Unknown, Whole};
    use Verdict::{Own, Shared, Theirs};

    fn known(may: &[bool], fits: &[Fit]) -> Known {
        Known { may: may.to_vec(), fits: fits.to_vec() }
    }

    #[test]
    fn a_conversation_is_of_the_session_that_it_fits_best() {
        let all = [true, true];
        for (of, expected) in [
            (known(&all, &[Whole, Not]), Own),
            (known(&all, &[Whole, Part]), Own),
            (known(&all, &[Not, Part]), Theirs),
            (known(&all, &[Part, Part]), Shared(vec![1])),
            (known(&all, &[Not, Not]), Shared(vec![1])),
            (known(&all, &[Whole, Unknown]), Own),
            (known(&all, &[Part, Unknown]), Shared(vec![1])),
            (known(&all, &[Unknown, Part]), Shared(vec![1])),
            (known(&all, &[Unknown, Not]), Shared(vec![1])),
            (known(&[true, true, true], &[Part, Not, Unknown]), Shared(vec![2])),
            (known(&[true, false], &[Not, Whole]), Own),
            (known(&[false, true], &[Whole, Not]), Theirs),
            (known(&[true, true, true], &[Whole, Not, Whole]), Shared(vec![2])),
            (known(&[false, false], &[Not, Not]), Theirs),
        ] {
            assert_eq!(divide(std::slice::from_ref(&of)), [expected], "{of:?}");
        }
    }

    #[test]
    fn what_fits_nobody_or_several_is_of_those_that_have_nothing() {
        let open = known(&[true, true], &[Not, Not]);
        let mine = known(&[true, true], &[Whole, Not]);
        let theirs = known(&[true, true], &[Not, Whole]);
        assert_eq!(divide(&[open.clone(), theirs.clone()]), [Own, Theirs]);
        assert_eq!(divide(&[open.clone(), mine.clone()]), [Shared(vec![1]), Own]);
        assert_eq!(divide(&[open.clone(), mine, theirs]), [Shared(vec![1]), Own, Theirs]);
        let earlier = known(&[false, true], &[Not, Not]);
        assert_eq!(divide(&[open, earlier.clone()]), [Own, Theirs]);
        // Two that were asked the same: what came before the other can be its own alone.
        let same = known(&[true, true], &[Whole, Whole]);
        assert_eq!(divide(&[same.clone(), earlier]), [Own, Theirs]);
        assert_eq!(divide(&[same.clone(), same]), [Shared(vec![1]), Shared(vec![1])]);
    }
}
