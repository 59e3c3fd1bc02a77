// Polls with KEDA's own scalers, for the benchmark of polls: the yardstick is KEDA's scaler of Kafka, and ours is asked through KEDA's
// external scaler, as the operator asks both for a ScaledJob.
//
//	keda-poll TRIGGERS
//
// TRIGGERS is a JSON list of triggers as a ScaledJob has them: type, metadata. For each line of the standard input all are polled once, one after the
// other, and what each took is written as a JSON list of milliseconds. A trigger that fails, or that finds nothing waiting, ends the program.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers"
	"github.com/kedacore/keda/v2/pkg/scalers/scalersconfig"
)

type trigger struct {
	Type     string            `json:"type"`
	Metadata map[string]string `json:"metadata"`
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: keda-poll TRIGGERS")
	}
	var triggers []trigger
	if err := json.Unmarshal([]byte(os.Args[1]), &triggers); err != nil {
		log.Fatal(err)
	}
	var opened []scalers.Scaler
	for index, trigger := range triggers {
		scaler, err := open(index, trigger)
		if err != nil {
			log.Fatalf("%s: %v", trigger.Type, err)
		}
		opened = append(opened, scaler)
	}
	output := json.NewEncoder(os.Stdout)
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		var millis []float64
		for index, scaler := range opened {
			begun := time.Now()
			if err := poll(scaler); err != nil {
				log.Fatalf("%s: %v", triggers[index].Type, err)
			}
			millis = append(millis, time.Since(begun).Seconds()*1_000)
		}
		if err := output.Encode(millis); err != nil {
			log.Fatal(err)
		}
	}
}

func open(index int, trigger trigger) (scalers.Scaler, error) {
	config := scalersconfig.ScalerConfig{
		ScalableObjectName:      "bench",
		ScalableObjectNamespace: "bench",
		ScalableObjectType:      "ScaledJob",
		TriggerType:             trigger.Type,
		TriggerMetadata:         trigger.Metadata,
		TriggerIndex:            index,
	}
	switch trigger.Type {
	case "kafka":
		return scalers.NewKafkaScaler(context.Background(), &config)
	case "external":
		return scalers.NewExternalScaler(&config)
	default:
		return nil, fmt.Errorf("no trigger is of this type here")
	}
}

// poll asks what KEDA's loop for a ScaledJob asks.
func poll(scaler scalers.Scaler) error {
	specs := scaler.GetMetricSpecForScaling(context.Background())
	if len(specs) != 1 {
		return fmt.Errorf("%d metrics", len(specs))
	}
	values, active, err := scaler.GetMetricsAndActivity(context.Background(), specs[0].External.Metric.Name)
	if err != nil {
		return err
	}
	if !active || len(values) != 1 || values[0].Value.IsZero() {
		return fmt.Errorf("nothing waits: active %v, %v", active, values)
	}
	return nil
}
