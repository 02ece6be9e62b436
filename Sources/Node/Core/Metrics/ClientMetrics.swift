/// What the transport counts about clients, since the start unless said otherwise.
public struct ClientMetrics: Sendable {
    /// Connections that are open now.
    public var connections = 0
    /// Connections taken in.
    public var accepted = 0
    /// Connections that the system or the limit refused.
    public var refused = 0
    /// Of the open ones, those that are WebSockets.
    public var webSockets = 0
    /// And event streams.
    public var eventStreams = 0
    /// Requests that could not be read, or did not arrive in time.
    public var badRequests = 0
    /// WebSocket messages from clients.
    public var messages = 0
    /// WebSocket clients that broke the protocol.
    public var badFrames = 0
    /// Bytes read from clients.
    public var bytesIn = 0
    /// Bytes given to the system for clients.
    public var bytesOut = 0
    /// Calls that gave a channel's messages to a subscriber's socket.
    public var deliveries = 0
    /// How often a subscriber lost what it was owed because it read too slowly.
    public var slowSubscribers = 0
    /// Connections that failed while they were written to.
    public var sendErrors = 0
    /// Connections closed because they were silent or did not finish in time.
    public var timeouts = 0
    /// Answers to their requests.
    public var http = HTTPMetrics()

    /// Nobody came yet.
    public init() {}

    func writeMetrics(into out: inout MetricsWriter) {
        out.gauge("connections", "Open client connections.", connections)
        out.counter("connections_accepted_total", "Client connections taken in.", accepted)
        out.counter("connections_refused_total", "Client connections refused by the system or the limit.", refused)
        out.counter("client_received_bytes_total", "Bytes read from clients.", bytesIn)
        out.counter("client_sent_bytes_total", "Bytes given to the system for clients.", bytesOut)
        out.counter("client_send_errors_total", "Client connections that failed while written to.", sendErrors)
        out.counter("client_timeouts_total", "Client connections closed for silence or slowness.", timeouts)
        http.writeMetrics(into: &out)
        out.counter("http_bad_requests_total", "Requests that could not be read or came too slowly.", badRequests)
        out.gauge("websockets", "Open WebSocket connections.", webSockets)
        out.gauge("event_streams", "Open event streams.", eventStreams)
        out.counter("websocket_messages_total", "Messages from WebSocket clients.", messages)
        out.counter("websocket_bad_frames_total", "WebSocket clients that broke the protocol.", badFrames)
        out.counter("subscriber_writes_total", "Writes of broadcast events to one subscriber's socket.", deliveries)
        out.counter(
            "subscriber_dropped_total", "Times a subscriber lost what it was owed for reading too slowly.",
            slowSubscribers)
    }
}
