// Says how many Jobs KEDA starts, by KEDA's own code: for each line of the standard input, a JSON object, one number.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/go-logr/logr"
	"github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	"github.com/kedacore/keda/v2/pkg/scaling/executor"
	"github.com/kedacore/keda/v2/pkg/scaling/scaledjob"
)

type question struct {
	Spec     v1alpha1.ScaledJobSpec `json:"spec"`
	Running  int64                  `json:"running"`
	Pending  int64                  `json:"pending"`
	Triggers []struct {
		Value  float64 `json:"value"`
		Target float64 `json:"target"`
		Active bool    `json:"active"`
	} `json:"triggers"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			log.Fatal(err)
		}
		fmt.Println(starts(asked))
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}

// As the operator's scale handler and its executor go on from the metrics.
func starts(asked question) int64 {
	job := &v1alpha1.ScaledJob{Spec: asked.Spec}
	least, most := job.MinReplicaCount(), job.MaxReplicaCount()
	var metrics []scaledjob.ScalerMetrics
	for _, trigger := range asked.Triggers {
		wanted := min(trigger.Value/trigger.Target, float64(most))
		metrics = append(metrics, scaledjob.ScalerMetrics{QueueLength: trigger.Value, MaxValue: wanted, IsActive: trigger.Active})
	}
	calculation := asked.Spec.ScalingStrategy.MultipleScalersCalculation
	active, scaleTo, maxScale, _ := scaledjob.IsScaledJobActive(metrics, calculation, least, most)
	if !active {
		return 0
	}
	effective := least - asked.Running
	if asked.Running < least {
		scaleTo = effective
	} else {
		strategy := executor.NewScalingStrategy(logr.Discard(), job)
		effective, scaleTo = strategy.GetEffectiveMaxScale(maxScale, asked.Running-least, asked.Pending, most, scaleTo)
	}
	return max(min(scaleTo, effective), 0)
}
