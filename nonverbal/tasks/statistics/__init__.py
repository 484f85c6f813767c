"""What decisions on grouped clips show: intervals, comparisons, nulls and calibration. Arrays in, numbers out."""
