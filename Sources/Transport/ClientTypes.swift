import Glibc

/// One connection of a client. Numbers are never reused while the process lives.
public struct ConnectionID: Hashable, Comparable, Sendable {
    /// The server's number.
    public let rawValue: UInt64
    /// Wraps a number that the server gave.
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    /// Orders by number, that is by age.
    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

    /// The lower 24 bits are the slot in the table, the upper 40 count connections.
    init(serial: UInt64, slot: Int) { rawValue = serial << 24 | UInt64(slot) }
    var slot: Int { Int(rawValue & 0xff_ffff) }
}

/// A group of connections that get the same messages: either WebSockets or event streams. Chosen by the caller; small
/// numbers, densely used.
public struct BroadcastChannel: Hashable, Sendable {
    /// The caller's number.
    public let rawValue: UInt32
    /// Wraps the caller's number.
    public init(_ rawValue: UInt32) { self.rawValue = rawValue }
}

/// Who answers clients. All calls come on the loop's thread, between calls into the server and never inside one.
public protocol ClientHandler: AnyObject {
    /// A whole request. Answer it with `answer`, `upgrade` or `stream`, now or (but for `upgrade`) later; the next request
    /// of this connection comes after the answer. `bytes` are what the ranges of `head` point into; they and `body` are lent for the call.
    func request(_ connection: ConnectionID, _ head: HTTPHead, _ bytes: RawSpan, body: RawSpan)
    /// The client went away before its request was answered.
    func abandoned(_ connection: ConnectionID)
    /// A whole message from a WebSocket client, lent for the call.
    func message(_ connection: ConnectionID, _ kind: WebSocketMessage, _ bytes: RawSpan)
    /// A WebSocket or an event stream is gone, from whichever side; 1006 if the client went without a close frame.
    func closed(_ connection: ConnectionID, code: UInt16)
    /// A WebSocket or an event stream reads too slowly for its byte budget (`ClientSettings.subscriberBytes`): it is off
    /// its channel, and what it was owed of that is dropped. `mark` is that of the last broadcast it gets, nil if none
    /// came since it was tuned. If its own bytes are above the budget, what is sent to it from now on is dropped.
    func overran(_ connection: ConnectionID, mark: UInt64?)
    /// Answers `notify`: all that was sent and broadcast to the connection before is in the hands of its socket.
    func emptied(_ connection: ConnectionID)
    /// After `drain`: the last connection is gone.
    func drained()
}

/// The limits of client connections.
public struct ClientSettings: Sendable {
    /// Limits of a request in bytes.
    public var request = HTTPParser.Limits()
    /// The longest message of a WebSocket client, in bytes.
    public var messageBytes = 1 << 20
    /// How long a head may take to arrive (408), in seconds.
    public var headSeconds: UInt32 = 10
    /// How long a request may take to arrive (408), in seconds.
    public var requestSeconds: UInt32 = 60
    /// How long a connection may be silent before it is closed, in seconds.
    public var idleSeconds: UInt32 = 75
    /// After how many silent seconds a WebSocket client is pinged, and how often an event stream gets an empty comment,
    /// which keeps proxies from ending it.
    public var pingSeconds: UInt32 = 30
    /// After how many seconds without an acknowledgement by the client's system an event stream is given up
    /// (`TCP_USER_TIMEOUT`): its client says nothing by which it could be known to be alive. Long, because one that does
    /// not read for a while, an agent that thinks, looks the same.
    public var unacknowledgedSeconds: UInt32 = 300
    /// How long the other side may take to end a conversation that is closing, in seconds.
    public var closeSeconds: UInt32 = 5
    /// A connection with more unsent bytes of answers than this is not read from.
    public var unsentBytes = 1 << 20
    /// How far a subscriber may lag behind its channel, and how much of its own may wait for it, before it is said to
    /// have overrun; in bytes each.
    public var subscriberBytes = 8 << 20
    /// Open connections at most; more are closed at once.
    public var connections = 100_000
    /// Whole header lines, each ending with CR LF, that every answer carries.
    ///
    /// A page of another origin may ask, and may read every header of the answer (Fetch standard, section 3.3).
    public var standardHeaders = "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: *\r\n"

    /// The defaults.
    public init() {}
}

/// What happened since the start. Sums, unless said otherwise.
public struct TransportCounters: Equatable, Sendable {
    /// Connections taken in.
    public var accepted = 0
    /// Connections that are open now.
    public var open = 0
    /// WebSocket connections that are open now.
    public var webSockets = 0
    /// Event streams that are open now.
    public var eventStreams = 0
    /// Connections that the operating system or the limit refused.
    public var refusedConnections = 0
    /// Whole requests.
    public var requests = 0
    /// Requests refused before they reached the handler.
    public var badRequests = 0
    /// WebSocket messages from clients.
    public var messages = 0
    /// WebSocket clients that broke the protocol.
    public var badFrames = 0
    /// Bytes read from clients.
    public var bytesIn = 0
    /// Bytes handed to the operating system for clients.
    public var bytesOut = 0
    /// Calls that handed a channel's frames to a member's socket.
    public var deliveries = 0
    /// How often a subscriber lost what it was owed because it read too slowly.
    public var slowSubscribers = 0
    /// Connections that failed while they were written to.
    public var sendErrors = 0
    /// Connections closed because they were silent or did not finish in time.
    public var timeouts = 0

    /// All zero.
    public init() {}
}

/// One connection: what waits, and where it is in its life. Buffers exist only while something waits.
final class ClientConnection {
    enum Phase {
        /// Requests and answers.
        case http
        /// Frames.
        case webSocket
        /// An answer without an end; what the client sends is dropped.
        case eventStream
        /// A close frame was sent; the other side's is awaited, with what it sent before.
        case closing
        /// What waits is sent, then the connection ends; nothing more is taken.
        case finishing
        /// Our side is shut; the other side's end is awaited, so that it reads the last answer before a reset.
        case lingering
    }

    let id: ConnectionID
    let descriptor: Int32
    var phase = Phase.http
    var input = ByteBuffer()
    var output = ByteBuffer()
    var parser = HTTPParser()
    var receiver: WebSocketReceiver?
    /// What epoll watches for.
    var watched: Readiness = .read
    /// A request was handed out and is not answered.
    var isWaiting = false
    /// What the handler called the request that is out; 0 for nothing.
    var route: UInt8 = 0
    /// When the turn began that brought the whole of it, in microseconds of the loop's clock.
    var requestedAt: UInt64 = 0
    /// The request that is out is a `HEAD`.
    var isHead = false
    /// The answer to the request that is out is the last one.
    var closesAfterAnswer = false
    var isProcessing = false
    /// In the list of connections to flush.
    var isDirty = false
    /// In the list of connections whose input is to be looked at again.
    var isResuming = false
    /// The socket is full.
    var isFull = false
    /// The other side will send no more.
    var hasEnded = false
    /// Failed while being written to; destroyed at the end of the turn.
    var isDoomed = false
    var wasPinged = false
    /// How messages to it look; nil for one that never was a WebSocket or an event stream.
    var framing: Framing?
    /// `notify` waits for its answer.
    var wantsNotice = false
    /// Its own bytes were above the budget: what is sent to it is dropped.
    var hasOverrun = false
    /// It was taken off its channel, and the handler was not told yet: what it means for this connection until then comes
    /// behind what was dropped, and must not arrive.
    var isCutOff = false
    /// The client speaks HTTP/1.0: no chunks, and it has to be told if the connection stays open.
    var isOldHTTP = false
    /// The number of its channel; -1 for none.
    var channel: Int32 = -1
    /// The index of the member in `fanout`.
    var member: Int32 = -1
    /// Where it is a member.
    var fanout: Fanout?
    /// Where the channel was when it joined.
    var tunedAt: UInt64 = 0
    /// What `closed` will say.
    var closeCode: UInt16 = 1006
    /// The last byte that came or went, in seconds of the loop's clock.
    var lastActivity: UInt32
    /// When the first byte of the request being read came; 0 for none.
    var requestStart: UInt32 = 0
    /// When to give up, while closing.
    var deadline: UInt32 = .max

    /// A conversation that takes messages.
    var isOpen: Bool { phase == .webSocket || phase == .eventStream }

    init(_ id: ConnectionID, _ descriptor: Int32, now: UInt32) {
        self.id = id
        self.descriptor = descriptor
        lastActivity = now
    }

    deinit { _ = Glibc.close(descriptor) }
}
