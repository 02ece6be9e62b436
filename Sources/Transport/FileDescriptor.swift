import Glibc

/// One open descriptor with one owner, closed exactly once. The compiler refuses a copy and a use after `release`.
public struct FileDescriptor: ~Copyable {
    /// The number, for system calls; it stays owned here.
    public let raw: Int32

    /// Takes over a descriptor that nobody else will close.
    public init(adopting raw: Int32) { self.raw = raw }

    /// Hands the number to someone who will close it.
    public consuming func release() -> Int32 {
        let raw = self.raw
        discard self
        return raw
    }

    deinit { _ = close(raw) }
}

/// What the process may use of the operating system.
public enum ResourceLimits {
    /// Raises the number of open descriptors to what the system allows, and returns it (0 if it cannot be read).
    @discardableResult
    public static func raiseOpenDescriptors() -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 0 }
        let wanted = limit.rlim_max
        if limit.rlim_cur < wanted {
            limit.rlim_cur = wanted
            _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            _ = getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
        return Int(clamping: limit.rlim_cur)
    }
}
