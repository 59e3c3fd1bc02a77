package main

import (
	"maps"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/Azure/go-amqp"
)

var newYear = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// An application property of each type that the SDK takes, by a name for it.
var properties = map[string]any{
	"string":     "ä",
	"bool":       true,
	"int8":       int8(-8),
	"int16":      int16(-1600),
	"int32":      int32(-320_000),
	"int64":      int64(-64_000_000_000),
	"int":        7,
	"uint8":      uint8(200),
	"uint16":     uint16(60_000),
	"uint32":     uint32(4_000_000_000),
	"uint64":     uint64(18_000_000_000_000_000_000),
	"float32":    float32(0.1),
	"float64":    0.1,
	"time":       newYear,
	"other-zone": newYear.Add(time.Millisecond).In(time.FixedZone("", 3_600)),
	"uuid":       amqp.UUID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	"symbol":     amqp.Symbol("symbolic"),
	"bytes":      []byte("bytes"),
	"nil":        nil,
}

var fields = map[string]any{"kind": "map", "n": 7, "at": newYear, "deep": map[string]any{"list": []any{"a", int64(1)}}}

// A body of each kind that the SDK sends, by a name for it.
var bodies = map[string]azservicebus.AMQPAnnotatedMessageBody{
	"map":       {Value: fields},
	"list":      {Value: []any{"first", fields}},
	"array":     {Value: []string{"a", "array"}},
	"text":      {Value: `{"kind":"text"}`},
	"number":    {Value: 1.5},
	"sequence":  {Sequence: [][]any{{"first", int32(2)}}},
	"sequences": {Sequence: [][]any{{"first"}, {fields}}},
	"data":      {Data: [][]byte{[]byte(`{"kind":"data"}`)}},
	"pieces":    {Data: [][]byte{[]byte(`{"kind":`), []byte(`"pieces"}`)}},
}

// Sends them all, each with its name as the subject; the names.
func send(entity string) []string {
	bus := client()
	defer bus.Close(within(5 * time.Second))
	sender := must(bus.NewSender(entity, nil))
	for name, value := range properties {
		message := azservicebus.Message{
			Subject:               &name,
			Body:                  []byte("{}"),
			ApplicationProperties: map[string]any{"v": value},
		}
		done(sender.SendMessage(within(10*time.Second), &message, nil))
	}
	for name, body := range bodies {
		message := azservicebus.AMQPAnnotatedMessage{
			Body:       body,
			Properties: &azservicebus.AMQPAnnotatedMessageProperties{Subject: &name},
		}
		done(sender.SendAMQPAnnotatedMessage(within(10*time.Second), &message, nil))
	}
	return slices.Concat(slices.Collect(maps.Keys(properties)), slices.Collect(maps.Keys(bodies)))
}
