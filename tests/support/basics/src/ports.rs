//! Which ports a node may listen on.
//!
//! From below the range that the kernel gives to outgoing connections. A port from that range can
//! be taken by any client while a broker is down, and a client that keeps trying a dead broker
//! there can even end up connected to itself.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

const PORTS: Range<u16> = 12_000..32_000;

/// How far this process has come in [`PORTS`].
static TAKEN: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 on which nobody listens, different at each call. Processes start at
/// different places.
///
/// # Panics
/// If none is free.
pub fn free() -> u16 {
    let span = PORTS.end - PORTS.start;
    let first = process::id().wrapping_mul(97) % u32::from(span);
    (0..span)
        .map(|_| {
            let step = u32::from(TAKEN.fetch_add(1, Ordering::Relaxed));
            let place = (first + step) % u32::from(span);
            PORTS.start + u16::try_from(place).expect("a place within PORTS")
        })
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port on 127.0.0.1")
}
