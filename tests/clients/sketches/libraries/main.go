// Reads lines that begin with the bits of a double, and prints for each the bits and the indexes of its
// bucket in a native histogram of Prometheus' client library, of schema 6, and in an exponential histogram
// of OpenTelemetry's SDK, of scale 6. Both libraries record the value and export it, as in a program:
//
//	go run . <../../../../crates/model/src/timer/bucket_indexes.txt
//
// Its output, after a first line, is crates/model/src/timer/bucket_indexes_of_libraries.txt.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

const scale = 6

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		digits, _, _ := strings.Cut(lines.Text(), " ")
		bits, err := strconv.ParseUint(digits, 16, 64)
		if err != nil {
			continue // the comment
		}
		value := math.Float64frombits(bits)
		fmt.Printf("%016x %d %d\n", bits, prometheusIndex(value), openTelemetryIndex(value))
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}

// The index of Prometheus, which is that of the upper bound.
func prometheusIndex(value float64) int32 {
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "timer",
		// The library takes the largest schema whose base is at most this: 2^(1/64) is 1.01089.
		NativeHistogramBucketFactor:  1.011,
		NativeHistogramZeroThreshold: prometheus.NativeHistogramZeroThresholdZero,
	})
	histogram.Observe(value)
	var written dto.Metric
	if err := histogram.Write(&written); err != nil {
		log.Fatal(err)
	}
	native := written.GetHistogram()
	if native.GetSchema() != scale || len(native.GetPositiveSpan()) != 1 {
		log.Fatalf("%g: not one bucket of schema 6: %v", value, native)
	}
	return native.GetPositiveSpan()[0].GetOffset()
}

// The index of OpenTelemetry, which is that of the lower bound.
func openTelemetryIndex(value float64) int32 {
	reader := sdk.NewManualReader()
	form := sdk.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: scale}
	view := sdk.NewView(sdk.Instrument{Name: "*"}, sdk.Stream{Aggregation: form})
	provider := sdk.NewMeterProvider(sdk.WithReader(reader), sdk.WithView(view))
	histogram, err := provider.Meter("tallyd").Float64Histogram("timer")
	if err != nil {
		log.Fatal(err)
	}
	histogram.Record(context.Background(), value)
	var written metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &written); err != nil {
		log.Fatal(err)
	}
	data := written.ScopeMetrics[0].Metrics[0].Data.(metricdata.ExponentialHistogram[float64])
	point := data.DataPoints[0]
	if point.Scale != scale || len(point.PositiveBucket.Counts) != 1 {
		log.Fatalf("%g: not one bucket of scale 6: %v", value, point)
	}
	return point.PositiveBucket.Offset
}
