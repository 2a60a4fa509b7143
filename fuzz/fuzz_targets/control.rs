//! Lines on the control socket: whatever they are, they are refused or mean themselves.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lxc_dev_manager_core::control::{Call, Hello, Message};

fuzz_target!(|text: &str| {
    if let Ok(call) = serde_json::from_str::<Call>(text) {
        let line = serde_json::to_string(&call).expect("it was read");
        assert!(!line.contains('\n'));
        assert_eq!(
            serde_json::from_str::<Call>(&line).expect("our own line"),
            call
        );
    }
    if let Ok(hello) = serde_json::from_str::<Hello>(text) {
        // Refused or not, it must not break anything.
        let _ = hello.check();
    }
    if let Ok(message) = serde_json::from_str::<Message>(text) {
        let line = serde_json::to_string(&message).expect("it was read");
        assert_eq!(
            serde_json::from_str::<Message>(&line).expect("our own line"),
            message
        );
    }
});
