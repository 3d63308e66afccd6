package tallyd.fleet.bench;

import java.util.ArrayList;
import java.util.List;

/** The 1,000 series that each generated host has: 20 metrics, with a service and a method as tags. */
final class HostSeries {
    /** One series without the host's own tags. */
    record Series(Metric metric, int service, int method) {}

    /** @param scale the typical value, of a timer in milliseconds */
    record Metric(String name, String kind, double scale) {}

    static final int PER_HOST = 1_000;
    /** Services of the fleet, of which each host runs {@link #SERVICES_PER_HOST}. */
    static final int SERVICES = 20;

    private static final int SERVICES_PER_HOST = 5;
    private static final int METHODS = 10;

    private static final List<Metric> BY_METHOD = List.of(
            new Metric("rpc.requests", "counter", 120),
            new Metric("rpc.errors", "counter", 2),
            new Metric("rpc.bytes_in", "counter", 90_000),
            new Metric("rpc.bytes_out", "counter", 400_000),
            new Metric("db.queries", "counter", 300),
            new Metric("cache.hits", "counter", 2_000),
            new Metric("cache.misses", "counter", 40),
            new Metric("http.requests", "counter", 80),
            new Metric("jobs.done", "counter", 5),
            new Metric("log.lines", "counter", 700),
            new Metric("rpc.time", "timer", 20),
            new Metric("rpc.queue_time", "timer", 1.5),
            new Metric("db.time", "timer", 4),
            new Metric("cache.time", "timer", 0.4),
            new Metric("http.time", "timer", 60),
            new Metric("connections.open", "gauge", 40),
            new Metric("memory.used", "gauge", 3e8),
            new Metric("queue.length", "gauge", 12));
    /** These have a tenth of the methods each, so that timers and counters dominate, as they do on real hosts. */
    private static final Metric CALLERS = new Metric("rpc.callers", "set", 100);
    private static final Metric ROUTES = new Metric("rpc.routes", "trace", 60);

    private HostSeries() {}

    /** All series of a host, the same at each call. */
    static List<Series> of(int host) {
        List<Series> series = new ArrayList<>(PER_HOST);
        for (int n = 0; n < SERVICES_PER_HOST; n++) {
            int service = (host + n * (SERVICES / SERVICES_PER_HOST)) % SERVICES;
            for (int method = 0; method < METHODS; method++) {
                for (Metric metric : BY_METHOD) {
                    series.add(new Series(metric, service, method));
                }
                series.add(new Series(CALLERS, service, method));
                series.add(new Series(ROUTES, service, method));
            }
        }
        return series;
    }
}
