import Glibc

/// The clock that only goes forward.
public enum MonotonicClock {
    /// Microseconds since an arbitrary start (the host's boot).
    public static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000 + UInt64(time.tv_nsec) / 1_000
    }
}

/// The clock on the wall, which may be wrong and may be set.
public enum WallClock {
    /// Milliseconds since the Unix epoch.
    public static func milliseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(max(0, time.tv_sec)) * 1_000 + UInt64(time.tv_nsec) / 1_000_000
    }
}

/// Randomness from the kernel, for identifiers, seeds and masks.
public enum Entropy {
    /// 64 random bits.
    public static func next() -> UInt64 {
        var value: UInt64 = 0
        let code = withUnsafeMutableBytes(of: &value) { getentropy($0.baseAddress!, $0.count) }
        precondition(code == 0, "getentropy failed with error \(errno); Linux 3.17 or later is needed")
        return value
    }
}
