public import CRDT
public import Gossip

/// One HTTP request that waits for its reply. Chosen by the shell, never reused while it waits.
public struct RequestID: Hashable, Sendable {
    /// The shell's number.
    public let rawValue: UInt64
    /// Wraps the shell's number.
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
}

/// One connected client that listens, on `/ws` or to an event stream. Chosen by the shell, never reused.
public struct SessionID: Hashable, Comparable, Sendable {
    /// The shell's number.
    public let rawValue: UInt64
    /// Wraps the shell's number.
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    /// By number.
    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// Sessions that want exactly the same events share a channel, so that a frame is made once for all of them.
/// Chosen by the core; channel 0 is every SEMP event and always exists.
public struct ChannelID: Hashable, Comparable, Sendable {
    /// The core's number.
    public let rawValue: UInt32
    /// Wraps the core's number.
    public init(_ rawValue: UInt32) { self.rawValue = rawValue }
    /// By number.
    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

extension NodeCore {
    /// What can happen to a node. Bytes that belong to an input are passed beside it, as a span that is only lent.
    public enum Input: Sendable {
        /// The moment asked for by `Effect.wake` has come (or any other moment: ticks are never harmful).
        case tick
        /// A client asks; the bytes are the request's body. With `after`, what the client has seen elsewhere, it is
        /// answered once this node has read that too, or cannot wait any longer. A write is answered once it has
        /// reached `ack`.
        case request(RequestID, Request, after: CompactVector? = nil, ack: AckLevel = .local)
        /// The client that made a request is gone; ignored if it was answered.
        case requestAbandoned(RequestID)
        /// A client connected to `/ws`, and said who it is if it did.
        case sessionOpened(SessionID, agent: String? = nil)
        /// A client sent one text message, which is the bytes.
        case sessionText(SessionID)
        /// A client's connection is gone.
        case sessionClosed(SessionID)
        /// Answers `Effect.notify`: what was sent to the client has left this process.
        case sessionEmptied(SessionID)
        /// The client reads too slowly: it is off its channel, and what it was owed is dropped. `mark` is that of the last
        /// broadcast that it got whole, nil if there was none since it was tuned.
        case sessionOverran(SessionID, mark: UInt64?)
        /// A datagram came, which is the bytes.
        case datagram(from: Address)
        /// A TCP connection to a peer stands. `dialled` is the address of the `Effect.dial` it answers, nil if the
        /// other side dialled.
        case linkOpened(LinkID, remote: Address, dialled: Address?)
        /// `Effect.dial` came to nothing.
        case dialFailed(Address)
        /// One whole frame came over a link; the bytes are its body without the length.
        case linkFrame(LinkID)
        /// What was written to a link has left this process (less than 64 KiB still wait).
        case linkDrained(LinkID)
        /// The link is gone, from whichever side.
        case linkClosed(LinkID)
        /// Leave the cluster in good order, then emit `Effect.left`.
        case leave
        /// All inputs of this turn of the loop were given: what they wrote may go to the disk together. Only a durable
        /// node needs it.
        case turnEnded
        /// What became of an `Effect.disk`.
        case disk(DiskResult)
    }

    /// What the shell has to do, in order. Ranges point into `Effects.bytes`.
    public enum Effect: Sendable {
        /// Answer a request with a JSON body (empty range: no body).
        case reply(RequestID, Reply, body: Range<Int>)
        /// Answer a request with an endless event stream: from now on its connection is the session of the same number.
        case stream(RequestID)
        /// Send one text message to one session; a piece of its stream where it is one.
        case send(SessionID, Range<Int>)
        /// Say `sessionEmptied` once all that was sent to this session has left this process.
        case notify(SessionID)
        /// End a session with a WebSocket close code and a reason; an event stream just ends. With 1006, which means a lost
        /// connection (RFC 6455, section 7.4.1), it ends without the marks of an end.
        case close(SessionID, code: UInt16, reason: String)
        /// From now on the session gets what is broadcast on this channel, and on no other; nil for nothing.
        case tune(SessionID, ChannelID?)
        /// Send one text message to every session of a channel. Marks rise; `sessionOverran` names one.
        case broadcast(ChannelID, Range<Int>, mark: UInt64)
        /// No session is tuned to this channel any more, its number may be reused.
        case closeChannel(ChannelID)
        /// Send one datagram (at most 1,400 bytes).
        case datagram(to: Address, Range<Int>)
        /// Open a TCP connection; answered by `linkOpened` or `dialFailed`.
        case dial(Address)
        /// Write one frame to a link: the bytes are its body, the shell adds the length (4 bytes, little-endian).
        case write(LinkID, Range<Int>)
        /// Close a link, after what was written to it if `flush`.
        case hangUp(LinkID, flush: Bool)
        /// Call with `tick` at this moment at the latest. The last one given counts.
        case wake(at: Instant)
        /// One line for the log.
        case log(LogLevel, String)
        /// Do this to the data directory; durable nodes only.
        case disk(DiskJob)
        /// The node begins to leave: take no more clients, and let those go that get their answers.
        case leaving
        /// The node has left the cluster; the shell may end the process.
        case left
    }

    /// The buffers that every call appends to and that the shell empties: one set, reused for ever.
    public struct Effects: Sendable {
        /// What to do, in order.
        public var list: [Effect] = []
        /// The bytes that ranges in `list` point into.
        public var bytes: [UInt8] = []

        /// Empty buffers.
        public init() {}

        /// Forgets what was carried out and keeps the memory.
        public mutating func removeAll() {
            list.removeAll(keepingCapacity: true)
            // One huge list answer must not pin its memory for ever.
            bytes.removeAll(keepingCapacity: bytes.capacity <= 4 << 20)
        }
    }
}

/// How much a log line matters: the gossip layer's scale serves the whole node.
public typealias LogLevel = Severity
