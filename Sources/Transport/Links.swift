import Glibc

/// One TCP connection to another process. Numbers are never reused while the process lives.
public struct TransportLinkID: Hashable, Comparable, Sendable {
    /// The number.
    public let rawValue: UInt64
    /// Wraps a number that `Links` gave.
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    /// Orders by number, that is by age.
    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// Who gets what comes over links. All calls come on the loop's thread, between calls into `Links`, never inside one.
public protocol LinksHandler: AnyObject {
    /// A connection stands. `dialled` is what was given to `dial`, nil if the other side dialled.
    func linkOpened(_ link: TransportLinkID, remote: SocketAddress, dialled: SocketAddress?)
    /// A dial came to nothing.
    func dialFailed(_ address: SocketAddress)
    /// One whole frame without its length, lent for the call.
    func linkFrame(_ link: TransportLinkID, _ body: RawSpan)
    /// What was written has left but for less than 64 KiB. Once after each time that anything waited.
    func linkDrained(_ link: TransportLinkID)
    /// The link is gone, from whichever side. Not called for dials that failed.
    func linkClosed(_ link: TransportLinkID)
}

/// The limits of links.
public struct LinkSettings: Sendable {
    /// The longest frame, without its length, in bytes; a longer one closes the link.
    public var frameBytes = 16 << 20
    /// Unsent bytes of one link; more close it.
    public var unsentBytes = 64 << 20
    /// Links that others may dial; more are closed at once.
    public var inbound = 1_024
    /// How long a dial may take, in milliseconds.
    public var dialMs: UInt64 = 2_000
    /// How long bytes may stay unacknowledged before the system gives the link up (RFC 5482), in milliseconds.
    public var unacknowledgedMs: Int32 = 5_000
    /// How long a link is silent before the system asks whether the other end is still there, in seconds. A peer that
    /// died is noticed by its silence on UDP, and a link that it lost is replaced when it dials again; this only frees
    /// what nobody else would, and keeps firewalls that forget a connection after an hour from doing so. More often, it
    /// would be the one cost of an idle peer that grows with the size of the cluster.
    public var keepAliveSeconds: Int32 = 1_800
    /// Below this many unsent bytes a link counts as drained.
    public var drainedBytes = 64 << 10
    /// How long a link that hangs up may take to send what waits, in milliseconds.
    public var hangUpMs: UInt64 = 5_000

    /// The defaults.
    public init() {}
}

/// What happened on links since the start. Sums, unless said otherwise.
public struct LinkCounters: Equatable, Sendable {
    /// Links that stand now.
    public var open = 0
    /// Dials that failed.
    public var dialsFailed = 0
    /// Connections of others that were refused, by the limit or by the system.
    public var refused = 0
    /// Frames that came.
    public var framesIn = 0
    /// Frames that were written.
    public var framesOut = 0
    /// Bytes read.
    public var bytesIn = 0
    /// Bytes handed to the operating system.
    public var bytesOut = 0
    /// Links closed for a frame above the limit.
    public var oversized = 0
    /// Links closed because too much waited to be sent.
    public var overflowed = 0
    /// Links that failed.
    public var errors = 0

    /// All zero.
    public init() {}
}

/// What passed over one link since it was opened.
public struct LinkTraffic: Equatable, Sendable {
    /// Which one.
    public var id: TransportLinkID
    /// Frames that came.
    public var framesIn: Int
    /// Frames that were written.
    public var framesOut: Int
    /// Bytes read.
    public var bytesIn: Int
    /// Bytes handed to the operating system.
    public var bytesOut: Int
    /// Bytes written that the operating system has not taken yet.
    public var unsentBytes: Int
}

/// TCP connections that carry frames: four bytes of length, little-endian, then so many bytes.
///
/// Writes are collected per link and leave at the end of the turn with one system call each.
public final class Links: EventHandler, LoopPart {
    private let loop: EventLoop
    private unowned let handler: any LinksHandler
    private let settings: LinkSettings
    private var links: [Link?] = []
    private var freeSlots: [Int] = []
    private var serial: UInt64 = 0
    private var listener: Listener?
    private var inbound = 0
    private var dirty: [Int] = []
    private var doomed: [Int] = []
    private var timed = 0
    private let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
    private var tallies = LinkCounters()

    private final class Link {
        enum Phase { case dialling, open, hangingUp }
        let id: TransportLinkID
        let descriptor: Int32
        let remote: SocketAddress
        let dialled: SocketAddress?
        var phase: Phase
        var input = ByteBuffer()
        var output = ByteBuffer()
        var isFull = false
        var isDirty = false
        var isDoomed = false
        /// Something waited when a turn ended, so that the handler has to hear when it has left.
        var owesDrained = false
        /// When to give up dialling or hanging up, in microseconds.
        var deadline = UInt64.max
        var framesIn = 0
        var framesOut = 0
        var bytesIn = 0
        var bytesOut = 0

        init(_ id: TransportLinkID, _ descriptor: Int32, remote: SocketAddress, dialled: SocketAddress?, phase: Phase) {
            self.id = id
            self.descriptor = descriptor
            self.remote = remote
            self.dialled = dialled
            self.phase = phase
        }

        deinit { _ = Glibc.close(descriptor) }
    }

    /// Links on this loop. The handler is not kept alive.
    public init(_ loop: EventLoop, handler: any LinksHandler, settings: LinkSettings = LinkSettings()) {
        self.loop = loop
        self.handler = handler
        self.settings = settings
        loop.add(self)
    }

    deinit { room.deallocate() }

    /// What happened so far.
    public var counters: LinkCounters {
        var now = tallies
        now.refused += listener?.errors ?? 0
        return now
    }

    /// The links that stand, by slot.
    public var traffic: [LinkTraffic] {
        links.compactMap { link in
            guard let link, link.phase == .open else { return nil }
            return LinkTraffic(
                id: link.id, framesIn: link.framesIn, framesOut: link.framesOut, bytesIn: link.bytesIn,
                bytesOut: link.bytesOut, unsentBytes: link.output.count)
        }
    }

    /// Lets others dial `address`; returns it with the port that the system chose for port 0.
    @discardableResult
    public func listen(on address: SocketAddress, option: String = "--gossip") throws(SocketError) -> SocketAddress {
        let listener = try Listener(loop, on: address, option: option) { [unowned self] descriptor, remote in
            accept(descriptor, remote)
        }
        self.listener = listener
        return listener.address
    }

    private func accept(_ descriptor: consuming FileDescriptor, _ remote: SocketAddress?) {
        guard inbound < settings.inbound, let remote else {
            tallies.refused += 1
            return
        }
        guard let link = add(descriptor, remote: remote, dialled: nil, phase: .open, for: .read) else {
            tallies.refused += 1
            return
        }
        inbound += 1
        tallies.open += 1
        handler.linkOpened(link.id, remote: remote, dialled: nil)
    }

    private func add(
        _ descriptor: consuming FileDescriptor, remote: SocketAddress, dialled: SocketAddress?, phase: Link.Phase,
        for readiness: Readiness
    ) -> Link? {
        Socket.setNoDelay(descriptor.raw)
        Socket.set(descriptor.raw, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, settings.unacknowledgedMs)
        Socket.set(descriptor.raw, SOL_SOCKET, SO_KEEPALIVE, 1)
        Socket.set(descriptor.raw, Int32(IPPROTO_TCP), TCP_KEEPIDLE, settings.keepAliveSeconds)
        Socket.set(descriptor.raw, Int32(IPPROTO_TCP), TCP_KEEPINTVL, 5)
        Socket.set(descriptor.raw, Int32(IPPROTO_TCP), TCP_KEEPCNT, 3)
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = free
        } else {
            slot = links.count
            links.append(nil)
        }
        serial += 1
        let id = TransportLinkID(serial << 24 | UInt64(slot))
        let link = Link(id, descriptor.release(), remote: remote, dialled: dialled, phase: phase)
        do {
            try loop.register(link.descriptor, for: readiness, handler: self, token: UInt32(slot))
        } catch {
            freeSlots.append(slot)
            return nil
        }
        links[slot] = link
        return link
    }

    private func slot(_ id: TransportLinkID) -> Int { Int(id.rawValue & 0xff_ffff) }

    private func link(_ id: TransportLinkID) -> Link? {
        let at = slot(id)
        guard at < links.count, let link = links[at], link.id == id else { return nil }
        return link
    }

    // MARK: What the owner asks

    /// Connects to `address`; `linkOpened` or `dialFailed` answers in a later turn.
    public func dial(_ address: SocketAddress) {
        let raw = socket(address.family, Int32(SOCK_STREAM.rawValue) | nonBlocking, 0)
        guard raw >= 0 else { return failLater(address) }
        let descriptor = FileDescriptor(adopting: raw)
        let code = address.withSockaddr(family: address.family) { connect(raw, $0, $1) }
        guard code == 0 || errno == EINPROGRESS else { return failLater(address) }
        guard let link = add(descriptor, remote: address, dialled: address, phase: .dialling, for: .write) else {
            return failLater(address)
        }
        link.deadline = loop.now + settings.dialMs * 1_000
        timed += 1
    }

    private var failedDials: [SocketAddress] = []

    private func failLater(_ address: SocketAddress) { failedDials.append(address) }

    /// Writes one frame; ignored if the link is gone or hanging up.
    public func write(_ id: TransportLinkID, _ body: RawSpan) {
        guard let link = link(id), link.phase == .open, !link.isDoomed else { return }
        precondition(body.byteCount <= settings.frameBytes, "a frame of \(body.byteCount) bytes is above the limit")
        if link.output.count + body.byteCount > settings.unsentBytes {
            tallies.overflowed += 1
            return doom(link)
        }
        withUnsafeBytes(of: UInt32(body.byteCount).littleEndian) { link.output.append($0) }
        link.output.append(body)
        tallies.framesOut += 1
        link.framesOut += 1
        markDirty(link)
    }

    /// Unsent bytes of a link.
    public func unsentBytes(_ id: TransportLinkID) -> Int { link(id)?.output.count ?? 0 }

    /// Closes a link; with `flush` after what was written to it. `linkClosed` follows either way.
    public func hangUp(_ id: TransportLinkID, flush: Bool) {
        guard let link = link(id), link.phase == .open else { return }
        guard flush, !link.output.isEmpty else { return doom(link) }
        link.phase = .hangingUp
        link.deadline = loop.now + settings.hangUpMs * 1_000
        timed += 1
        markDirty(link)
    }

    /// Ends everything at once, without a call to the handler.
    public func shutDown() {
        listener?.close()
        listener = nil
        for slot in links.indices {
            guard let link = links[slot] else { continue }
            loop.deregister(link.descriptor)
            links[slot] = nil
        }
        dirty = []
        doomed = []
        timed = 0
        inbound = 0
        tallies.open = 0
        loop.remove(self)
    }

    // MARK: The loop's side

    /// When something has to be done at the latest.
    public var deadline: UInt64 {
        if !dirty.isEmpty || !doomed.isEmpty || !failedDials.isEmpty { return 0 }
        if timed == 0 { return .max }
        return links.reduce(.max) { min($0, $1?.deadline ?? .max) }
    }

    /// A link's socket is ready.
    public func ready(_ token: UInt32, _ readiness: Readiness) {
        guard let link = links[Int(token)] else { return }
        if link.phase == .dialling {
            dialled(link)
        } else {
            if readiness.contains(.write) { flush(link) }
            if !readiness.isDisjoint(with: [.read, .failed]), !link.isDoomed { read(link) }
        }
        if link.isDoomed { destroy(link) }
    }

    /// Sends what this turn collected.
    public func endTurn(now: UInt64) {
        if timed > 0 {
            for case let link? in links where now >= link.deadline { doom(link) }
        }
        for _ in 0..<8 {
            let slots = dirty
            dirty.removeAll(keepingCapacity: true)
            for slot in slots {
                guard let link = links[slot], link.isDirty else { continue }
                link.isDirty = false
                if !link.isFull { flush(link) }
            }
            let gone = doomed
            doomed.removeAll(keepingCapacity: true)
            for slot in gone { if let link = links[slot], link.isDoomed { destroy(link) } }
            let failed = failedDials
            failedDials = []
            for address in failed {
                tallies.dialsFailed += 1
                handler.dialFailed(address)
            }
            if dirty.isEmpty, doomed.isEmpty, failedDials.isEmpty { break }
        }
    }

    private func dialled(_ link: Link) {
        var code: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(link.descriptor, SOL_SOCKET, SO_ERROR, &code, &length) == 0, code == 0 else {
            return doom(link)
        }
        link.phase = .open
        stopTimer(link)
        tallies.open += 1
        loop.watch(link.descriptor, for: .read)
        handler.linkOpened(link.id, remote: link.remote, dialled: link.dialled)
    }

    private func stopTimer(_ link: Link) {
        guard link.deadline != .max else { return }
        link.deadline = .max
        timed -= 1
    }

    private func read(_ link: Link) {
        switch Socket.receive(link.descriptor, into: room) {
        case .nothing: return
        case .end: doom(link)
        case .failed:
            tallies.errors += 1
            doom(link)
        case .bytes(let count):
            tallies.bytesIn += count
            link.bytesIn += count
            let fresh = UnsafeRawBufferPointer(rebasing: room[..<count])
            if link.input.isEmpty {
                let used = take(link, fresh)
                if !link.isDoomed {
                    let rest = UnsafeRawBufferPointer(rebasing: fresh[used...])
                    reserveFrame(link, rest)
                    link.input.append(rest)
                }
            } else {
                link.input.append(fresh)
                let used = take(link, UnsafeRawBufferPointer(link.input.readable))
                if used > 0 { link.input.consume(used) }
                if !link.isDoomed { reserveFrame(link, UnsafeRawBufferPointer(link.input.readable)) }
            }
        }
    }

    /// Room for the whole of a long frame at once; its length was checked.
    private func reserveFrame(_ link: Link, _ rest: UnsafeRawBufferPointer) {
        guard rest.count >= 4 else { return }
        let size = 4 + Int(UInt32(littleEndian: rest.loadUnaligned(as: UInt32.self)))
        if size > link.input.count { link.input.reserve(size - link.input.count) }
    }

    /// Hands whole frames out; returns how many bytes they took.
    private func take(_ link: Link, _ bytes: UnsafeRawBufferPointer) -> Int {
        var at = 0
        while bytes.count - at >= 4, !link.isDoomed {
            let length = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self)))
            if length > settings.frameBytes {
                tallies.oversized += 1
                doom(link)
                break
            }
            guard bytes.count - at - 4 >= length else { break }
            tallies.framesIn += 1
            link.framesIn += 1
            handler.linkFrame(link.id, UnsafeRawBufferPointer(rebasing: bytes[at + 4..<at + 4 + length]).bytes)
            at += 4 + length
        }
        return at
    }

    private func markDirty(_ link: Link) {
        guard !link.isDirty else { return }
        link.isDirty = true
        dirty.append(slot(link.id))
    }

    private func flush(_ link: Link) {
        guard !link.isDoomed else { return }
        if !link.output.isEmpty {
            let waiting = UnsafeRawBufferPointer(link.output.readable)
            guard let sent = Socket.send(link.descriptor, waiting) else {
                tallies.errors += 1
                return doom(link)
            }
            tallies.bytesOut += sent
            link.bytesOut += sent
            if sent > 0 { link.output.consume(sent) }
            link.owesDrained = true
        }
        let isFull = !link.output.isEmpty
        if isFull != link.isFull {
            link.isFull = isFull
            loop.watch(link.descriptor, for: isFull ? [.read, .write] : .read)
        }
        if link.phase == .hangingUp {
            if !isFull { doom(link) }
        } else if link.owesDrained, link.output.count < settings.drainedBytes {
            link.owesDrained = false
            handler.linkDrained(link.id)
        }
    }

    private func doom(_ link: Link) {
        guard !link.isDoomed else { return }
        link.isDoomed = true
        doomed.append(slot(link.id))
    }

    private func destroy(_ link: Link) {
        let at = slot(link.id)
        guard links[at] === link else { return }
        stopTimer(link)
        loop.deregister(link.descriptor)
        links[at] = nil
        freeSlots.append(at)
        if link.phase == .dialling, let address = link.dialled {
            tallies.dialsFailed += 1
            handler.dialFailed(address)
        } else {
            tallies.open -= 1
            if link.dialled == nil { inbound -= 1 }
            handler.linkClosed(link.id)
        }
    }
}
