//! What must hold of all that an upstream can send: checked by `make fuzz` on inputs that a fuzzer
//! makes up, guided by the code that each of them reaches.
//!
//! The modules under test are compiled from their own files, not linked as the edge: they are pure,
//! and to instrument all that the edge is made of, Pingora and OpenSSL among it, takes minutes.

#[path = "../../src/admission"]
pub mod admission {
    pub mod credential;
}
#[path = "../../src/cookies.rs"]
pub mod cookies;
#[path = "../../src/origin.rs"]
pub mod origin;
#[path = "../../src/rewrite/mod.rs"]
pub mod rewrite;

mod bodies;
mod headers;
mod input;
mod set_cookie;

use input::Input;

/// Checks one input; its first byte says what is made of the rest. Panics where something does not
/// hold.
pub fn check(input: &[u8]) {
    let mut input = Input::of(input);
    let check = *input.pick(&[
        bodies::the_stream_equals_the_whole,
        bodies::every_coding_passes_into_every_other,
        bodies::what_is_broken_ends_and_stays_small,
        headers::a_redirect_leads_to_what_is_shown_or_where_it_said,
        headers::what_comes_from_us_goes_to_the_upstream,
        headers::a_policy_names_what_is_shown,
        headers::an_answer_is_private,
        set_cookie::a_cookie_is_never_ours_and_stays_on_its_host,
        bodies::the_stream_loses_the_integrity_that_the_whole_loses,
        bodies::the_stream_gets_its_script_where_the_whole_does,
    ] as &[fn(Input<'_>)]);
    check(input);
}
