"""Who answers: a model of ours, a checkpoint of transformers, an endpoint. All are asked and scored alike."""
