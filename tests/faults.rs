//! Faults: servers that are killed, frozen, unreachable or refuse, connections that break at every byte, a system that
//! refuses, programs that panic. Each case runs in a process of its own and under the same rules (`case.rs`): calls
//! end by their deadline, replies carry their request's tag, what an error says of its command is what the server
//! counted, and nothing is left over.
//!
//! Always in a short form, on one combination of topology, TLS and shared lines each, which the seed picks
//! (REDKEEP_TEST_SEED; without it, the clock's). `make faults` runs them on all combinations, for as long as it takes, or
//! on that of one number from 0 to 11 (REDKEEP_FAULTS_ONLY).

mod support;

mod faults {
    mod bytes;
    mod case;
    mod clock;
    mod closes;
    mod connects;
    mod crowd;
    mod errors;
    mod floods;
    mod freezes;
    mod holes;
    mod hostile;
    mod kills;
    mod limits;
    mod load;
    mod panics;
    mod place;
    mod system;
}
