"""Reading RecBole's atomic files, and naming the line that is wrong."""
