"""x"""
def score_models(models, tasks, run, folder):
    pass
