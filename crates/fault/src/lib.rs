//! Crash points and sabotages: how tests break the product on purpose, at named places.
//!
//! A *crash point* is a step of the write path at which the process can be made to die. A *sabotage* is a bug that can
//! be switched on, to see that the tests notice it. Both are chosen by environment variables, and only in a build with
//! the feature `on`; the only such binaries are `eye-faults` and, of the simulation, `sim-faults`.
//!
//! The rule that must hold: without the feature, [`crash_point`] does nothing and [`sabotaged`] is constantly false, so
//! that the compiler removes both, and no product can be broken from outside.
//!
//! | variable | what it does |
//! |---|---|
//! | `EYE_CRASH_AT=name[:k]` | the process aborts when it comes to this crash point for the k-th time (the first if not said) |
//! | `EYE_CRASH_TRACE=file` | the name of each crash point is appended to this file whenever the process comes to it |
//! | `EYE_SABOTAGE=name` | this bug is there |

mod crash_point;
#[cfg(any(feature = "on", test))]
mod plan;
mod sabotage;

pub use crash_point::CrashPoint;
pub use sabotage::Sabotage;

/// True if this build can be broken.
pub const ON: bool = cfg!(feature = "on");

/// The environment variables that this build listens to: none without the feature.
pub const VARIABLES: &[&str] = variables();

#[cfg(feature = "on")]
const fn variables() -> &'static [&'static str] {
    &[plan::CRASH_AT, plan::CRASH_TRACE, plan::SABOTAGE]
}

#[cfg(not(feature = "on"))]
const fn variables() -> &'static [&'static str] {
    &[]
}

/// Ends the process here, as a crash would, if that was asked for.
#[cfg(feature = "on")]
pub fn crash_point(point: CrashPoint) {
    plan::Plan::of_process().pass(point);
}

/// Does nothing: this build cannot be broken.
#[cfg(not(feature = "on"))]
#[inline(always)]
pub const fn crash_point(_: CrashPoint) {}

/// True if this bug was asked for.
#[cfg(feature = "on")]
#[must_use]
pub fn sabotaged(by: Sabotage) -> bool {
    plan::Plan::of_process().sabotage == Some(by)
}

/// False: this build cannot be broken.
#[cfg(not(feature = "on"))]
#[inline(always)]
#[must_use]
pub const fn sabotaged(_: Sabotage) -> bool {
    false
}

/// An enumeration whose members have names for people and for the environment.
macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($(#[doc = $doc:literal])+ $member:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[doc = $doc])+ $member,)+
        }

        impl $name {
            /// All of them, in the order of the write path.
            pub const ALL: &[Self] = &[$(Self::$member,)+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$member => $text,)+
                }
            }

            /// What it is, in a sentence.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$member => concat!($($doc),+).trim_ascii_start(),)+
                }
            }

            /// The one with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|member| member.name() == name)
            }
        }
    };
}
use named;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        let points = CrashPoint::ALL.iter().map(|point| point.name());
        let bugs = Sabotage::ALL.iter().map(|bug| bug.name());
        let mut names: Vec<_> = points.chain(bugs).collect();
        for name in &names {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || byte == b'.';
            assert!(!name.is_empty() && name.bytes().all(plain), "{name}");
        }
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        for point in CrashPoint::ALL {
            assert_eq!(CrashPoint::from_name(point.name()), Some(*point));
        }
        for bug in Sabotage::ALL {
            assert_eq!(Sabotage::from_name(bug.name()), Some(*bug));
        }
        assert_eq!(CrashPoint::from_name("nowhere"), None);
        assert_eq!(Sabotage::from_name(""), None);
    }

    #[test]
    #[cfg(not(feature = "on"))]
    fn nothing_is_broken_without_the_feature() {
        const { assert!(!ON && VARIABLES.is_empty()) };
        for point in CrashPoint::ALL {
            crash_point(*point);
        }
        assert!(Sabotage::ALL.iter().all(|bug| !sabotaged(*bug)));
    }
}
